//! A TCP proxy before a server that listens on this machine alone: it lets through what looks like a session, and bounds what
//! a client may send before the server has answered.
//! Knows nothing of what a session says; the server decides who may have one.

use anyhow::{Context, Result};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;
use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    /// The server.
    pub inner: SocketAddr,
    /// The request line that a session begins with.
    pub opening: &'static str,
    /// Sessions at a time.
    pub sessions: usize,
    /// How long a client may take over each piece.
    pub timeout: Duration,
}

const MAX_HEAD: usize = 8 << 10;
/// Bytes after the head that are let through before the server has answered with more than its own head.
const MAX_UNANSWERED: usize = 64 << 10;

impl Proxy {
    /// Serves all clients, for ever.
    ///
    /// # Errors
    /// The system takes no more connections.
    pub(crate) fn serve(self, listener: &TcpListener) -> Result<()> {
        let open = Arc::new(AtomicUsize::new(0));
        for client in listener.incoming() {
            let client = match client {
                Ok(client) => client,
                Err(e) if e.kind() == ErrorKind::ConnectionAborted => continue,
                Err(e) => return Err(e).context("the port is gone"),
            };
            let (proxy, open) = (self.clone(), open.clone());
            if open.fetch_add(1, Ordering::AcqRel) >= self.sessions {
                open.fetch_sub(1, Ordering::AcqRel);
                refuse(&client, "503 Service Unavailable");
                continue;
            }
            let closes = open.clone();
            let session = move || {
                // Whatever it is, it concerns this session alone.
                drop(proxy.forward(&client));
                drop(client.shutdown(Shutdown::Both));
                closes.fetch_sub(1, Ordering::AcqRel);
            };
            if Builder::new().name("session".into()).spawn(session).is_err() {
                open.fetch_sub(1, Ordering::AcqRel);
            }
        }
        Ok(())
    }

    fn forward(&self, client: &TcpStream) -> std::io::Result<()> {
        client.set_nodelay(true)?;
        client.set_read_timeout(Some(self.timeout))?;
        let Some((head, early)) = read_head(client)? else {
            refuse(client, "431 Request Header Fields Too Large");
            return Ok(());
        };
        if !head.starts_with(self.opening.as_bytes()) {
            refuse(client, "404 Not Found");
            return Ok(());
        }
        let server = TcpStream::connect(self.inner)?;
        server.set_nodelay(true)?;
        server.set_read_timeout(Some(self.timeout))?;
        (&server).write_all(&head)?;
        let Some((answer, first)) = read_head(&server)? else {
            return Ok(());
        };
        (&*client).write_all(&answer)?;
        if !self.greet(client, &server, early, first)? {
            return Ok(());
        }
        client.set_read_timeout(None)?;
        server.set_read_timeout(None)?;
        std::thread::scope(|scope| {
            let back = || {
                drop(std::io::copy(&mut &server, &mut &*client));
                drop(client.shutdown(Shutdown::Both));
            };
            let answers = Builder::new().name("answers".into()).spawn_scoped(scope, back);
            if answers.is_ok() {
                drop(std::io::copy(&mut &*client, &mut &server));
            }
            drop(server.shutdown(Shutdown::Both));
        });
        Ok(())
    }

    /// Lets the first message through, and the answer back. False if more was sent before there was an answer.
    fn greet(&self, client: &TcpStream, server: &TcpStream, early: Vec<u8>, first: Vec<u8>) -> std::io::Result<bool> {
        let mut sent = early.len();
        (&*server).write_all(&early)?;
        if !first.is_empty() {
            (&*client).write_all(&first)?;
            return Ok(true);
        }
        let step = Duration::from_millis(5);
        let rounds = self.timeout.as_millis() / step.as_millis();
        server.set_read_timeout(Some(step))?;
        client.set_read_timeout(Some(step))?;
        let mut piece = [0; 4096];
        for _ in 0..rounds {
            match (&*server).read(&mut piece) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    (&*client).write_all(&piece[..n])?;
                    return Ok(true);
                }
                Err(e) if is_wait(&e) => {}
                Err(e) => return Err(e),
            }
            let room = piece.len().min(MAX_UNANSWERED - sent);
            if room == 0 {
                return Ok(false);
            }
            match (&*client).read(&mut piece[..room]) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    sent += n;
                    (&*server).write_all(&piece[..n])?;
                }
                Err(e) if is_wait(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(false)
    }
}

fn is_wait(e: &std::io::Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// A request's or an answer's head, and what came after it. None if it is too long or never ends.
fn read_head(mut from: &TcpStream) -> std::io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let (mut got, mut piece) = (Vec::new(), [0; 1024]);
    while got.len() <= MAX_HEAD {
        let n = from.read(&mut piece)?;
        if n == 0 {
            return Ok(None);
        }
        got.extend(&piece[..n]);
        if let Some(end) = got.windows(4).position(|w| w == b"\r\n\r\n") {
            let after = got.split_off(end + 4);
            return Ok((got.len() <= MAX_HEAD).then_some((got, after)));
        }
    }
    Ok(None)
}

fn refuse(mut client: &TcpStream, why: &str) {
    drop(client.write_all(format!("HTTP/1.1 {why}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proxy before a server that answers each session with `answer`, then echoes. Its address.
    fn proxied(answer: &'static [u8], sessions: usize) -> SocketAddr {
        let server = TcpListener::bind("127.0.0.1:0").expect("a port");
        let proxy = Proxy {
            inner: server.local_addr().expect("an address"),
            opening: "GET /session ",
            sessions,
            timeout: Duration::from_secs(5),
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let spawn = |work: Box<dyn FnOnce() + Send>| drop(Builder::new().spawn(work).expect("spawns"));
        spawn(Box::new(move || drop(proxy.serve(&listener))));
        spawn(Box::new(move || {
            for client in server.incoming().flatten() {
                let echo = move || {
                    drop(read_head(&client));
                    drop((&client).write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"));
                    if !answer.is_empty() {
                        drop((&client).write_all(answer));
                    }
                    drop(std::io::copy(&mut &client, &mut &client));
                };
                drop(Builder::new().spawn(echo).expect("spawns"));
            }
        }));
        address
    }

    fn say(address: SocketAddr, text: &[u8]) -> TcpStream {
        let stream = TcpStream::connect(address).expect("connects");
        // It may be closed in the middle.
        drop((&stream).write_all(text));
        stream
    }

    fn all(mut stream: TcpStream) -> String {
        let mut out = Vec::new();
        drop(stream.read_to_end(&mut out));
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn a_session_goes_through_both_ways() {
        let mut stream = say(proxied(b"welcome", 2), b"GET /session HTTP/1.1\r\n\r\nhello");
        let expected = b"HTTP/1.1 101 Switching Protocols\r\n\r\nwelcomehello";
        let mut got = vec![0; expected.len()];
        stream.read_exact(&mut got).expect("answers");
        assert_eq!(got, expected);
        let long = vec![b'x'; 3 * MAX_UNANSWERED];
        let writer = stream.try_clone().expect("clones");
        std::thread::scope(|scope| {
            let write = Builder::new()
                .spawn_scoped(scope, || (&writer).write_all(&long))
                .expect("spawns");
            let mut back = vec![0; long.len()];
            stream.read_exact(&mut back).expect("answers");
            assert_eq!(back, long);
            write.join().expect("ends").expect("writes");
        });
    }

    #[test]
    fn other_paths_and_long_heads_are_refused() {
        let address = proxied(b"welcome", 9);
        for path in ["/", "/sessions", "/transfer", "/../etc/passwd"] {
            let got = all(say(address, format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()));
            assert!(got.starts_with("HTTP/1.1 404"), "{path}: {got}");
        }
        let long = format!("GET /session HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(MAX_HEAD));
        let got = all(say(address, long.as_bytes()));
        assert!(got.is_empty() || got.starts_with("HTTP/1.1 431"), "{got}");
    }

    #[test]
    fn an_oversized_first_message_is_cut_off() {
        let mut text = b"GET /session HTTP/1.1\r\n\r\n".to_vec();
        text.extend(vec![b'x'; 64 * MAX_UNANSWERED]);
        let (address, seen) = silent();
        let stream = TcpStream::connect(address).expect("connects");
        drop((&stream).write_all(&text));
        assert_eq!(seen.recv().expect("the session ends"), MAX_UNANSWERED);
        assert_eq!(all(stream).matches('x').count(), 0);
    }

    /// A proxy before a server that never answers a first message; how many bytes of it came there.
    fn silent() -> (SocketAddr, std::sync::mpsc::Receiver<usize>) {
        let server = TcpListener::bind("127.0.0.1:0").expect("a port");
        let proxy = Proxy {
            inner: server.local_addr().expect("an address"),
            opening: "GET /session ",
            sessions: 1,
            timeout: Duration::from_secs(5),
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (tell, seen) = std::sync::mpsc::channel();
        let listens = move || {
            for client in server.incoming().flatten() {
                let mut seen = 0;
                drop(read_head(&client));
                drop((&client).write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"));
                let mut piece = [0; 4096];
                while let Ok(n @ 1..) = (&client).read(&mut piece) {
                    seen += n;
                }
                let _ = tell.send(seen);
            }
        };
        drop(
            Builder::new()
                .spawn(move || drop(proxy.serve(&listener)))
                .expect("spawns"),
        );
        drop(Builder::new().spawn(listens).expect("spawns"));
        (address, seen)
    }

    #[test]
    fn sessions_are_counted() {
        let address = proxied(b"welcome", 1);
        let mut first = say(address, b"GET /session HTTP/1.1\r\n\r\n");
        first.read_exact(&mut [0; 20]).expect("answers");
        assert!(all(say(address, b"GET /session HTTP/1.1\r\n\r\n")).starts_with("HTTP/1.1 503"));
    }
}
