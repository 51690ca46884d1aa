//! The stacks: which programs play the services, and what stands before them.

use super::front::Front;
use super::programs::{Kit, Program};
use super::shape::{LINE, Shape, TREE};

/// A stack.
#[derive(Clone, Copy, Debug)]
pub struct Stack {
    /// Its name on the command line.
    pub name: &'static str,
    /// What the table calls it.
    pub about: &'static str,
    /// Who calls whom.
    pub shape: Shape,
    /// The program of each service.
    pub programs: [Program; 4],
    /// What stands before each of them.
    pub front: Option<Front>,
    /// On how many hosts the services run in turn, each with an agent of its own.
    pub hosts: usize,
}

const fn same(name: &'static str, about: &'static str, program: Program) -> Stack {
    Stack { name, about, shape: TREE, programs: [program; 4], front: None, hosts: 1 }
}

const fn behind(name: &'static str, about: &'static str, program: Program, front: Front) -> Stack {
    Stack { name, about, shape: TREE, programs: [program; 4], front: Some(front), hosts: 1 }
}

/// All stacks.
pub const STACKS: &[Stack] = &[
    same("python-threads", "Python, a thread per connection and per parallel call", Program::PythonThreads),
    same("python-executor", "Python, calls by a shared ThreadPoolExecutor", Program::PythonExecutor),
    same("aiohttp", "aiohttp server and client", Program::Aiohttp),
    same("uvicorn", "Starlette under uvicorn, httpx", Program::Uvicorn),
    same("uvicorn-aiohttp", "Starlette under uvicorn, aiohttp client", Program::UvicornAiohttp),
    same("uvicorn-sync", "Starlette under uvicorn, handlers in threads, requests", Program::UvicornSync),
    same("gunicorn", "gunicorn, 8 forked workers, requests", Program::Gunicorn),
    same("gevent", "gunicorn, a worker with greenlets, requests", Program::Gevent),
    same("node-http", "Node http, keep-alive agent, Promise.all", Program::NodeHttp),
    same("node-fetch", "Node http server, undici fetch", Program::NodeFetch),
    same("go", "Go net/http, a goroutine per parallel call", Program::Go),
    same("go-channels", "Go net/http, calls by 64 goroutines over a channel", Program::GoChannels),
    same("go-stripped", "the same as `go`, without symbols", Program::GoStripped),
    same("java-pool", "JDK server in a pool, HttpClient in an ExecutorService", Program::JavaPool),
    same("java-url", "JDK server in a pool, HttpURLConnection in an ExecutorService", Program::JavaUrl),
    same("java-async", "JDK server in a pool, HttpClient.sendAsync", Program::JavaAsync),
    same("java-virtual", "JDK 21 server and HttpClient in virtual threads", Program::JavaVirtual),
    same("java-virtual-url", "JDK 21 server and HttpURLConnection in virtual threads", Program::JavaVirtualUrl),
    same("spring", "Spring MVC under Tomcat, RestTemplate in a pool", Program::SpringMvc),
    same("webflux", "Spring WebFlux and WebClient on Netty", Program::SpringWebflux),
    same("webflux-tomcat", "Spring WebFlux under Tomcat, WebClient on Netty", Program::SpringTomcat),
    same("tokio", "hyper on tokio, pooled client, spawned tasks", Program::Tokio),
    same("puma", "Ruby, Puma with 32 threads, net-http-persistent", Program::Puma),
    behind("php-fpm", "PHP-FPM behind nginx, curl_multi", Program::Php, Front::Nginx),
    behind("nginx", "nginx before each of four Go services", Program::Go, Front::Nginx),
    behind("haproxy", "HAProxy before each of four Go services", Program::Go, Front::Haproxy),
    Stack {
        name: "chain",
        about: "Go, Python threads, Node http, Java pool, one behind the other",
        shape: LINE,
        programs: [Program::Go, Program::PythonThreads, Program::NodeHttp, Program::JavaUrl],
        front: None,
        hosts: 1,
    },
    Stack {
        name: "sdk-python",
        about: "Go calls Flask with OpenTelemetry's SDK, Node and Python without",
        shape: TREE,
        programs: [Program::Go, Program::Sdk, Program::NodeHttp, Program::PythonThreads],
        front: None,
        hosts: 1,
    },
    Stack {
        name: "sdk-front",
        about: "Flask with OpenTelemetry's SDK calls Go, Node and Python without",
        shape: TREE,
        programs: [Program::Sdk, Program::Go, Program::NodeHttp, Program::PythonThreads],
        front: None,
        hosts: 1,
    },
    Stack {
        name: "hosts-2",
        about: "Go, Python threads, Node http, Python threads, in turn on two hosts with an agent each",
        shape: TREE,
        programs: [Program::Go, Program::PythonThreads, Program::NodeHttp, Program::PythonThreads],
        front: None,
        hosts: 2,
    },
    Stack {
        name: "hosts-3",
        about: "Go, Python threads, Node http, Java pool, one behind the other, in turn on three hosts with an agent each",
        shape: LINE,
        programs: [Program::Go, Program::PythonThreads, Program::NodeHttp, Program::JavaUrl],
        front: None,
        hosts: 3,
    },
    same("sdk", "Flask with OpenTelemetry's SDK everywhere", Program::Sdk),
];

impl Stack {
    /// By its name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        STACKS.iter().find(|stack| stack.name == name)
    }

    /// What it needs, sorted.
    #[must_use]
    pub fn kits(&self) -> Vec<Kit> {
        let mut kits: Vec<Kit> = self.programs.iter().filter_map(|program| program.kit()).collect();
        kits.extend(self.front.map(Front::kit));
        kits.sort_unstable();
        kits.dedup();
        kits
    }
}
