//! The services: what each answers, and whom it asks for it.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    http::{Client, Handler, Request, Response, listen},
    load,
};

/// What a process of the shop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub enum Role {
    /// Takes what customers ask, and asks the others.
    Gateway,
    /// Keeps carts.
    Cart,
    /// Takes money, sometimes slowly.
    Payment,
    /// Keeps orders.
    Orders,
    /// The customers.
    Shopper,
}

impl Role {
    /// The service's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Cart => "cart",
            Self::Payment => "payment",
            Self::Orders => "orders",
            Self::Shopper => "shopper",
        }
    }

    /// Whom it asks.
    #[must_use]
    pub fn peers(self) -> &'static [Self] {
        match self {
            Self::Gateway => &[Self::Cart, Self::Payment, Self::Orders],
            Self::Cart | Self::Payment => &[],
            Self::Orders => &[Self::Cart],
            Self::Shopper => &[Self::Gateway],
        }
    }
}

/// The command line of one process of the shop (a hidden subcommand).
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// What to be.
    pub role: Role,
    /// Another service, as NAME=ADDRESS:PORT.
    #[arg(long = "peer", value_name = "NAME=ADDRESS:PORT", value_parser = peer)]
    pub peers: Vec<(Role, SocketAddr)>,
    /// How long a slow payment takes, in milliseconds.
    #[arg(long, default_value_t = 4500)]
    pub slow_ms: u64,
}

fn peer(text: &str) -> Result<(Role, SocketAddr), String> {
    let (name, address) = text.split_once('=').ok_or("expected NAME=ADDRESS:PORT")?;
    let role = clap::ValueEnum::from_str(name, false)?;
    let address = address.parse().map_err(|e| format!("{address}: {e}"))?;
    Ok((role, address))
}

/// Is one process of the shop, until its standard input ends: that is when whoever started it has ended, however that came.
/// Listens on a free port of loopback, and says which in one line on standard output.
///
/// # Errors
/// When it cannot listen or say so, or was not told of a peer that it needs.
pub fn serve(arguments: &Arguments) -> io::Result<()> {
    // What `/proc/PID/comm` says is the main thread's name. Only for the eye: it may fail.
    if let Ok(name) = std::ffi::CString::new(arguments.role.name()) {
        let _ = rustix::thread::set_name(&name);
    }
    if arguments.role == Role::Shopper {
        load::start(&client(arguments, Role::Gateway)?);
    } else {
        let handler = handler(arguments)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut out = io::stdout();
        writeln!(out, "listening on {}", listener.local_addr()?)?;
        out.flush()?;
        thread::spawn(move || listen(&listener, &handler));
    }
    let mut nothing = [0; 64];
    while io::stdin().read(&mut nothing)? > 0 {}
    Ok(())
}

fn client(arguments: &Arguments, role: Role) -> io::Result<Arc<Client>> {
    let peer = arguments.peers.iter().find(|(peer, _)| *peer == role);
    let (_, address) =
        peer.ok_or_else(|| io::Error::other(format!("{} needs --peer {}=...", arguments.role.name(), role.name())))?;
    Ok(Arc::new(Client::new(*address)))
}

fn handler(arguments: &Arguments) -> io::Result<Arc<Handler>> {
    Ok(match arguments.role {
        Role::Gateway => {
            let (cart, payment, orders) =
                (client(arguments, Role::Cart)?, client(arguments, Role::Payment)?, client(arguments, Role::Orders)?);
            Arc::new(move |request: &Request| {
                gateway(request, &cart, &payment, &orders)
                    .unwrap_or_else(|e| Response::new(502, json!({"error": e.to_string()})))
            })
        }
        Role::Cart => {
            let carts = Shelf::default();
            Arc::new(move |request: &Request| cart(request, &carts))
        }
        Role::Payment => {
            let (count, slow) = (AtomicU64::new(1), Duration::from_millis(arguments.slow_ms));
            Arc::new(move |request: &Request| payment(request, &count, slow))
        }
        Role::Orders => {
            let (cart, kept, count) = (client(arguments, Role::Cart)?, Shelf::default(), AtomicU64::new(1000));
            Arc::new(move |request: &Request| {
                orders(request, &kept, &count, &cart)
                    .unwrap_or_else(|e| Response::new(502, json!({"error": e.to_string()})))
            })
        }
        Role::Shopper => return Err(io::Error::other("a shopper serves nothing")),
    })
}

fn parts(request: &Request) -> (&str, Vec<&str>) {
    let path = request.path.split('?').next().unwrap_or_default();
    (request.method.as_str(), path.split('/').filter(|part| !part.is_empty()).collect())
}

fn not_found() -> Response {
    Response::new(404, json!({"error": "not found"}))
}

/// What the gateway answers: carts and orders as their services do, and a checkout that asks all of them.
fn gateway(request: &Request, cart: &Client, payment: &Client, orders: &Client) -> io::Result<Response> {
    let (method, parts) = parts(request);
    match (method, parts.as_slice()) {
        ("GET" | "POST", ["carts", ..]) => cart.call(method, &request.path, &request.body),
        ("GET", ["orders", _]) => orders.call("GET", &request.path, &Value::Null),
        ("POST", ["checkout", id]) => {
            let found = cart.call("GET", &format!("/carts/{id}"), &Value::Null)?;
            if found.status != 200 {
                return Ok(found);
            }
            let paid = payment.call("POST", "/payments", &json!({"cart": id, "amount": found.body.get("total")}))?;
            if paid.status != 201 {
                return Ok(Response::new(502, json!({"error": "the payment failed"})));
            }
            orders.call("POST", "/orders", &json!({"cart": id, "payment": paid.body.get("id")}))
        }
        _ => Ok(not_found()),
    }
}

/// Things by number; of more than a thousand the oldest numbers go.
#[derive(Default)]
struct Shelf(Mutex<BTreeMap<u64, Vec<Value>>>);

impl Shelf {
    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<u64, Vec<Value>>) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut all);
        while all.len() > 1000 {
            all.pop_first();
        }
        result
    }
}

fn cart(request: &Request, carts: &Shelf) -> Response {
    let (method, parts) = parts(request);
    let (["carts", id] | ["carts", id, "items"]) = parts.as_slice() else {
        return not_found();
    };
    let Ok(id) = id.parse::<u64>() else {
        return not_found();
    };
    match (method, parts.len()) {
        ("GET", 2) => carts.with(|all| match all.get(&id) {
            Some(items) => Response::new(200, json!({"id": id, "items": items, "total": items.len() * 5})),
            None => not_found(),
        }),
        ("POST", 3) => carts.with(|all| {
            let items = all.entry(id).or_default();
            if items.len() < 20 {
                items.push(request.body.clone());
            }
            Response::new(201, json!({"items": items.len()}))
        }),
        ("DELETE", 2) => {
            carts.with(|all| if all.remove(&id).is_some() { Response::new(204, Value::Null) } else { not_found() })
        }
        _ => not_found(),
    }
}

/// Every eighth payment, beginning with the third, is slow; every fifteenth, beginning with the seventh, fails.
fn payment(request: &Request, count: &AtomicU64, slow: Duration) -> Response {
    if parts(request) != ("POST", vec!["payments"]) {
        return not_found();
    }
    let number = count.fetch_add(1, Ordering::Relaxed);
    thread::sleep(if number % 8 == 3 { slow } else { Duration::from_millis(rand::random_range(20..60)) });
    if number % 15 == 7 {
        return Response::new(500, json!({"error": "the bank does not answer"}));
    }
    Response::new(201, json!({"id": number, "amount": request.body.get("amount")}))
}

/// Takes orders, and has the cart emptied for each.
fn orders(request: &Request, kept: &Shelf, count: &AtomicU64, cart: &Client) -> io::Result<Response> {
    let (method, parts) = parts(request);
    Ok(match (method, parts.as_slice()) {
        ("POST", ["orders"]) => {
            let number = count.fetch_add(1, Ordering::Relaxed);
            // Between numbers only, whatever the body says.
            if let Some(id) = request.body.get("cart").and_then(Value::as_str).and_then(|id| id.parse::<u64>().ok()) {
                cart.call("DELETE", &format!("/carts/{id}"), &Value::Null)?;
            }
            kept.with(|all| all.insert(number, vec![request.body.clone()]));
            Response::new(201, json!({"id": number}))
        }
        ("GET", ["orders", id]) => {
            let found = id.parse().ok().and_then(|id| kept.with(|all| all.get(&id).cloned()));
            found.map_or_else(not_found, |order| Response::new(200, json!({"id": id, "order": order})))
        }
        _ => not_found(),
    })
}
