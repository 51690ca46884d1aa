//! A relay of datagrams that loses, repeats, changes and invents what the test wants.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// What becomes of the datagram with this number: all that is to be sent on in its place.
pub type Fate = Box<dyn FnMut(u64, &[u8]) -> Vec<Vec<u8>> + Send>;

/// A running relay between whoever writes to it and one receiver.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Starts one to `receiver`, with what becomes of datagrams on the way there and on the way back.
    ///
    /// # Errors
    /// When there are no sockets to be had.
    pub fn start(receiver: SocketAddr, there: Fate, back: Fate) -> Result<Self> {
        let front = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let rear = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        for socket in [&front, &rear] {
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        }
        let port = front.local_addr()?.port();
        let stop = Arc::new(AtomicBool::new(false));
        let sender = Arc::new(std::sync::Mutex::new(None));
        let threads = vec![
            {
                let (front, rear) = (front.try_clone()?, rear.try_clone()?);
                let (stop, sender) = (Arc::clone(&stop), Arc::clone(&sender));
                thread::spawn(move || {
                    pass(&front, &stop, there, |from, bytes| {
                        if let Ok(mut sender) = sender.lock() {
                            *sender = Some(from);
                        }
                        rear.send_to(bytes, receiver)
                    });
                })
            },
            {
                let stop = Arc::clone(&stop);
                thread::spawn(move || {
                    pass(&rear, &stop, back, |_, bytes| match sender.lock().ok().and_then(|sender| *sender) {
                        Some(sender) => front.send_to(bytes, sender),
                        None => Ok(0),
                    });
                })
            },
        ];
        Ok(Self { port, stop, threads })
    }

    /// The port at which it takes datagrams, on all addresses.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it has failed.
    pub fn finish(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.join().ok().context("the relay failed")?;
        }
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn pass(
    socket: &UdpSocket,
    stop: &AtomicBool,
    mut fate: Fate,
    mut send: impl FnMut(SocketAddr, &[u8]) -> io::Result<usize>,
) {
    let mut buffer = [0; 2048];
    let mut number = 0;
    while !stop.load(Ordering::Acquire) {
        let Ok((len, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        number += 1;
        for bytes in fate(number, buffer.get(..len).unwrap_or_default()) {
            // Nobody may listen any more: then it is lost, as on any network.
            let _lost = send(from, &bytes);
        }
    }
}
