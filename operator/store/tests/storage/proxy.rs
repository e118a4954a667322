//! A TCP proxy that lets connections fail as a test says, and counts.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// It works.
    Forward,
    /// It ends after so many bytes of answers.
    Cut(u64),
    /// Nothing more comes after so many bytes of answers.
    Stall(u64),
    /// It ends at once.
    Refuse,
    /// Its first request is answered by 503.
    SlowDown,
}

/// The proxy; its port is open as long as the test process lives.
pub struct Proxy {
    pub port: u16,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    answered: AtomicU64,
}

impl Proxy {
    /// Forwards to a port of this host. The connections are numbered from 0, in the order in which they came.
    pub fn start(server: u16, fate: impl Fn(usize) -> Fate + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let fate = fate(shared.connections.fetch_add(1, Ordering::SeqCst));
                let counts = Arc::clone(&shared);
                thread::spawn(move || serve(client, server, fate, &counts));
            }
        });
        Self { port, counts }
    }

    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// Bytes of answers that were handed on, headers included.
    pub fn answered(&self) -> u64 {
        self.counts.answered.load(Ordering::SeqCst)
    }
}

fn serve(client: TcpStream, server: u16, fate: Fate, counts: &Counts) {
    match fate {
        Fate::Refuse => {}
        Fate::SlowDown => slow_down(client),
        Fate::Forward => forward(client, server, u64::MAX, false, counts),
        Fate::Cut(bytes) => forward(client, server, bytes, false, counts),
        Fate::Stall(bytes) => forward(client, server, bytes, true, counts),
    }
}

fn forward(mut client: TcpStream, server: u16, limit: u64, stall: bool, counts: &Counts) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)) else { return };
    let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let requests = thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    let mut left = limit;
    let mut buffer = vec![0; 64 << 10];
    while left > 0 {
        let Ok(read @ 1..) = server.read(&mut buffer) else { break };
        let taken = read.min(usize::try_from(left).unwrap_or(usize::MAX));
        counts.answered.fetch_add(taken as u64, Ordering::SeqCst);
        if client.write_all(&buffer[..taken]).is_err() {
            break;
        }
        left -= taken as u64;
    }
    if stall && left == 0 {
        // Silent until the client has had enough.
        let _ = requests.join();
    } else {
        let _ = client.shutdown(Shutdown::Both);
    }
}

fn slow_down(mut client: TcpStream) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && matches!(client.read(&mut byte), Ok(1)) {
        request.push(byte[0]);
    }
    let body = "<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>";
    let length = body.len();
    let _ = write!(
        client,
        "HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
}
