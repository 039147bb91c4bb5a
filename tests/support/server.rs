//! A tiny web server for the tests' images: answers with its version, and behaves as the environment says.
//!
//! `VERSION` is what it answers; `BEHAVIOUR` is `well` (default), `crash` (ends at once), `crash-later` (ends after five
//! seconds), `unwell` (answers `/healthz` with 503), `gate` (hands every request on to `UPSTREAM`, to all of whose addresses
//! in turn). `check` as its argument asks the server beside it, for a HEALTHCHECK.

use std::{
    env,
    io::{Read, Write},
    net::{TcpListener, TcpStream, ToSocketAddrs as _},
    process::exit,
    thread,
    time::Duration,
};

fn main() {
    let port = env::var("PORT").unwrap_or("8080".to_owned());
    if env::args().nth(1).as_deref() == Some("check") {
        check(&port);
    }
    let behaviour = env::var("BEHAVIOUR").unwrap_or_default();
    let version = env::var("VERSION").unwrap_or_default();
    println!("version {version} starts, {behaviour}");
    match behaviour.as_str() {
        "crash" => {
            eprintln!("fatal: no such table: orders");
            exit(3);
        }
        "crash-later" => {
            thread::spawn(|| {
                thread::sleep(Duration::from_secs(5));
                eprintln!("fatal: lost the database");
                exit(4);
            });
        }
        _ => {}
    }
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).expect("the port is free");
    for (turn, stream) in listener.incoming().flatten().enumerate() {
        if behaviour == "gate" {
            thread::spawn(move || hand_on(stream, turn));
            continue;
        }
        let (behaviour, version) = (behaviour.clone(), version.clone());
        thread::spawn(move || answer(stream, &behaviour, &version));
    }
}

fn hand_on(mut stream: TcpStream, turn: usize) {
    let mut request = [0; 4096];
    let read = stream.read(&mut request).unwrap_or(0);
    let upstream = env::var("UPSTREAM").unwrap_or_default();
    let mut addresses: Vec<_> = upstream.to_socket_addrs().into_iter().flatten().collect();
    addresses.sort();
    let Some(address) = addresses.get(turn % addresses.len().max(1)) else { return };
    let Ok(mut server) = TcpStream::connect(address) else { return };
    let mut answer = Vec::new();
    // Who gets nothing sees that by the end of the connection.
    if server.write_all(&request[..read]).is_ok() && server.read_to_end(&mut answer).is_ok() {
        stream.write_all(&answer).unwrap_or_default();
    }
}

fn answer(mut stream: TcpStream, behaviour: &str, version: &str) {
    let mut request = [0; 4096];
    let read = stream.read(&mut request).unwrap_or(0);
    let asked = String::from_utf8_lossy(&request[..read]);
    let status = match (behaviour, asked.starts_with("GET /healthz")) {
        ("unwell", true) => "503 Service Unavailable",
        _ => "200 OK",
    };
    let length = version.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    // Whoever asked may be gone.
    if stream.write_all((head + version).as_bytes()).is_ok() {
        stream.flush().unwrap_or_default();
    }
}

fn check(port: &str) -> ! {
    let answered = TcpStream::connect(format!("127.0.0.1:{port}")).and_then(|mut stream| {
        stream.write_all(b"GET /healthz HTTP/1.1\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    });
    exit(i32::from(!answered.unwrap_or(false)));
}
