//! Real command lines, with what a person would call the service.

use proptest::prelude::*;

use super::*;

/// Executable, working directory (or empty), arguments between `|`, expected (`^` for the parent's, empty for unknown).
const CASES: &[(&str, &str, &str, &str)] = &[
    // Executables.
    ("/usr/sbin/nginx", "/", "nginx: master process /usr/sbin/nginx -g daemon off;", "nginx"),
    ("/usr/sbin/nginx", "/", "nginx: worker process", "nginx"),
    ("/usr/bin/curl", "", "curl|-s|http://localhost/", "curl"),
    ("/usr/sbin/php-fpm8.2", "", "php-fpm: pool www", "php-fpm8.2"),
    ("/usr/lib/postgresql/15/bin/postgres", "", "postgres: 15/main: walwriter", "postgres"),
    ("/opt/shop/cart", "", "", "cart"),
    ("/bin/busybox", "", "httpd|-f|-p|80", "httpd"),
    ("/bin/busybox", "", "/bin/sh|/srv/poll.sh", "poll"),
    ("", "", "", ""),
    ("", "", "/usr/local/bin/prometheus|--web", "prometheus"),
    ("/bin/busybox", "", "/bin/busybox|sh|/srv/poll.sh", "poll"),
    ("/bin/busybox", "", "busybox", "busybox"),
    // Python.
    ("/usr/bin/python3.11", "/srv", "python3|server.py|8080", "server"),
    ("/usr/bin/python3.11", "/srv", "python3|-u|/srv/shop/cart.py", "cart"),
    ("/usr/bin/python3.11", "/srv", "python|-m|http.server|8000", "http.server"),
    ("/usr/bin/python3.11", "/srv", "python|-um|http.server", "http.server"),
    ("/usr/bin/python3.11", "/srv", "python|-W|ignore|-X|dev|-B|cart.py", "cart"),
    ("/usr/bin/python3.11", "/srv", "python|-Wignore|cart.py", "cart"),
    ("/usr/bin/python3.11", "/srv", "python|-c|import time; time.sleep(9)|cart.py", "python"),
    ("/usr/bin/python3.11", "/srv", "python3.11", "python"),
    ("/usr/bin/python3.11", "/srv", "python3|-", "python"),
    ("/usr/bin/python3.11", "/srv/shop", "python|manage.py|runserver|0.0.0.0:80", "shop"),
    ("/usr/bin/python3.11", "/", "python|/srv/shop/manage.py|runserver", "shop"),
    ("/usr/bin/python3.11", "/", "python|manage.py|runserver", "manage"),
    (
        "/usr/bin/python3.11",
        "/app",
        "/venv/bin/python|/venv/bin/gunicorn|-w|4|-b|0.0.0.0:8000|shop.wsgi:application",
        "shop",
    ),
    ("/usr/bin/python3.11", "/app", "python3|/usr/bin/gunicorn|-b|unix:sock|app:app", "app"),
    ("/usr/bin/python3.11", "/app", "python3|/usr/bin/gunicorn|shop.wsgi", "shop"),
    ("/usr/bin/python3.11", "/app", "python3|/usr/bin/gunicorn|-c|gunicorn.conf.py", "gunicorn"),
    ("/usr/bin/python3.11", "/app", "gunicorn: master [shop.wsgi:application]", "shop"),
    ("/usr/bin/python3.11", "/app", "gunicorn: worker [shop.wsgi:application]", "shop"),
    ("/usr/bin/python3.11", "/app", "python3|-m|gunicorn|orders.app:create()", "orders"),
    ("/usr/bin/python3.11", "/app", "python3|/usr/local/bin/uvicorn|main:app|--host|localhost:8000|--reload", "main"),
    ("/usr/bin/python3.11", "/app", "python3|-m|uvicorn|--host|0.0.0.0|acme.pay.main:app", "acme.pay"),
    ("/usr/bin/python3.11", "/app", "python3|-m|flask|--app|hello|run", "hello"),
    ("/usr/bin/python3.11", "/app", "python3|/usr/bin/flask|run", "flask"),
    ("/usr/bin/python3.11", "/app", "python3|/usr/bin/celery|-A|proj|worker", "proj"),
    ("/usr/bin/python3.11", "/app", "[celeryd: celery@host:MainProcess] -active- (worker)", "celeryd"),
    (
        "/usr/bin/python3.11",
        "/app",
        "python3|-c|from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=5, pipe_handle=7)|--multiprocessing-fork",
        "^",
    ),
    ("/usr/bin/python3.11", "/app", "python3|-c|from multiprocessing.resource_tracker import main;main(4)", "^"),
    // Node.
    ("/usr/bin/node", "/app", "node|server.js", "server"),
    ("/usr/bin/node", "/app", "node|--require|./otel.js|--max-old-space-size=512|-r|x|/srv/shop/dist/index.js", "shop"),
    ("/usr/bin/node", "/srv/cart", "node|index.js", "cart"),
    ("/usr/bin/node", "/srv/cart", "node|./src/index.js", "cart"),
    ("/usr/bin/node", "/srv/cart", "node|-e|require('http')", "node"),
    ("/usr/bin/node", "/srv/cart", "node|--title=pay|x.js", "pay"),
    ("/usr/bin/node", "/srv/cart", "npm run start", "npm"),
    ("/usr/bin/node", "/srv/cart", "node|/usr/bin/npm|start", "npm"),
    ("/usr/bin/node", "/srv/cart", "next-server (v14.1.0)", "next-server"),
    ("/usr/local/bin/node", "/srv/cart", "node|/srv/cart/node_modules/.bin/next|start", "next"),
    ("/root/.deno/bin/deno", "", "deno|run|--allow-net|main.ts", "main"),
    ("/root/.bun/bin/bun", "", "bun|server.ts", "server"),
    ("/root/.bun/bin/bun", "", "bun|run|start", "bun"),
    // Java.
    ("/usr/lib/jvm/java-17/bin/java", "", "java|-Xmx1g|-jar|/opt/shop-1.2.3-SNAPSHOT.jar|--server.port=80", "shop"),
    ("/usr/lib/jvm/java-17/bin/java", "", "java|-jar|api-gateway.jar", "api-gateway"),
    ("/usr/lib/jvm/java-17/bin/java", "", "java|-cp|a.jar:b.jar|com.acme.shop.CartServer|80", "CartServer"),
    ("/usr/lib/jvm/java-17/bin/java", "", "java|-cp|x|com.acme.shop.Main", "shop"),
    ("/usr/lib/jvm/java-17/bin/java", "", "java|Main", "Main"),
    ("/usr/lib/jvm/java-17/bin/java", "", "java|Server.java|8080", "Server"),
    (
        "/usr/lib/jvm/java-17/bin/java",
        "",
        "java|--add-opens|java.base/java.lang=ALL-UNNAMED|-m|acme.shop/com.acme.Cart",
        "Cart",
    ),
    ("/usr/lib/jvm/java-17/bin/java", "", "java|-Dotel.service.name=pay|-jar|x.jar", "pay"),
    ("/usr/lib/jvm/java-17/bin/java", "", "java|-jar|x.jar|--spring.application.name=pay", "pay"),
    ("/usr/lib/jvm/java-17/bin/java", "", "java|-classpath|x|org.apache.catalina.startup.Bootstrap|start", "tomcat"),
    ("/usr/lib/jvm/java-17/bin/java", "", "java|-version", "java"),
    ("/usr/lib/jvm/java-17/bin/java", "", "java|-jar", "java"),
    // Ruby.
    ("/usr/bin/ruby3.1", "/srv/shop/current", "ruby|/usr/bin/bundle|exec|puma|-C|config/puma.rb", "shop"),
    ("/usr/bin/ruby3.1", "/", "ruby|/usr/bin/puma", "puma"),
    ("/usr/bin/ruby3.1", "/", "ruby|/usr/bin/puma|--tag|pay", "pay"),
    ("/usr/bin/ruby3.1", "/srv/shop", "puma 5.6.5 (tcp://0.0.0.0:9292) [shop]", "shop"),
    ("/usr/bin/ruby3.1", "/srv/shop", "puma: cluster worker 0: 4242 [shop]", "shop"),
    ("/usr/bin/ruby3.1", "/", "puma 5.6.5 (tcp://0.0.0.0:9292)", "puma"),
    ("/usr/bin/ruby3.1", "/srv/shop", "ruby|bin/rails|server", "shop"),
    ("/usr/bin/ruby3.1", "/srv/shop", "ruby|-Ilib|-rjson|-W0|cart.rb", "cart"),
    ("/usr/bin/ruby3.1", "/srv/shop", "ruby|/usr/bin/bundle|exec|ruby|-I|lib|cart.rb", "cart"),
    ("/usr/bin/ruby3.1", "/srv/shop", "ruby|/usr/bin/bundle|exec|sidekiq", "sidekiq"),
    ("/usr/bin/ruby3.1", "/srv/shop", "ruby|-run|-e|httpd", "ruby"),
    // Others.
    ("/usr/bin/php8.2", "", "php|-S|0.0.0.0:80|-t|public|router.php", "router"),
    ("/usr/bin/php8.2", "", "php|-f|worker.php", "worker"),
    ("/usr/bin/php8.2", "/srv/shop", "php|artisan|serve", "shop"),
    ("/usr/bin/php8.2", "", "php|-r|echo 1;", "php"),
    ("/usr/bin/perl", "", "perl|-MFoo::e|-w|-I|lib|app.psgi", "app"),
    ("/usr/bin/perl", "", "perl|-e|1", "perl"),
    ("/usr/bin/dash", "", "sh|-c|curl localhost", "sh"),
    ("/usr/bin/bash", "", "-bash", "sh"),
    ("/usr/bin/bash", "", "bash|-e|/srv/poll.sh|x", "poll"),
    ("/usr/bin/dotnet", "", "dotnet|/app/Shop.Cart.dll", "Shop.Cart"),
    ("/usr/bin/dotnet", "", "dotnet|exec|Shop.dll|--urls", "Shop"),
    ("/usr/bin/dotnet", "", "dotnet|run", "dotnet"),
    ("/usr/lib/erlang/erts-13/bin/beam.smp", "", "beam.smp|-W|w|--|-root|/usr|-sname|rabbit@host", "rabbit"),
];

fn run(executable: &str, directory: &str, arguments: &[String]) -> Program {
    let some = |text| Some(text).filter(|t: &&str| !t.is_empty());
    program(&CommandLine { executable: some(executable), arguments, directory: some(directory) })
}

#[test]
fn real_command_lines() {
    for (executable, directory, arguments, expected) in CASES {
        let arguments: Vec<_> = arguments.split('|').filter(|a| !a.is_empty()).map(str::to_owned).collect();
        let expected = match *expected {
            "" => Program::Unknown,
            "^" => Program::LikeParent,
            name => Program::Named(name.to_owned()),
        };
        assert_eq!(run(executable, directory, &arguments), expected, "{executable} {arguments:?} in {directory}");
    }
}

proptest! {
    #[test]
    fn takes_anything(
        executable in "(/usr/bin/)?(python3|node|java|ruby|php|perl|sh|deno|dotnet|beam.smp|nginx|busybox|)",
        arguments in proptest::collection::vec("(-{0,2}[a-zA-Z]{0,4}|\\PC{0,12}|bundle|exec|puma|-m|-jar|[a-z]{1,3}:[a-z]{1,3})", 0..8),
        directory in "(/\\PC{0,8}){0,3}",
    ) {
        if let Program::Named(name) = run(&executable, &directory, &arguments) {
            prop_assert!(!name.is_empty() && name.len() <= LONGEST && !name.chars().any(char::is_control));
        }
    }
}
