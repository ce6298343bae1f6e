//! A guest of many small behaviours on the network, for WASI 0.2: the first word says which.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

fn look_up(name: &str) -> std::io::Result<()> {
    for found in (name, 80).to_socket_addrs()? {
        println!("{}", found.ip());
    }
    Ok(())
}

/// Send a line, and print what comes back until the other end closes.
fn connect(address: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"hello\n")?;
    stream.shutdown(Shutdown::Write)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    print!("{text}");
    Ok(())
}

/// Echo what each connection sends, one connection after the other.
fn listen(address: &str) -> std::io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("listening");
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut data = [0; 4096];
        loop {
            match stream.read(&mut data)? {
                0 => break,
                size => stream.write_all(&data[..size])?,
            }
        }
    }
    Ok(())
}

/// Echo datagrams.
fn receive(address: &str) -> std::io::Result<()> {
    let socket = UdpSocket::bind(address)?;
    println!("listening");
    let mut data = [0; 4096];
    loop {
        let (size, from) = socket.recv_from(&mut data)?;
        socket.send_to(&data[..size], from)?;
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match (words[0].as_str(), words[1].as_str()) {
        ("look-up", name) => look_up(name),
        ("connect", address) => connect(address),
        ("listen", address) => listen(address),
        ("receive", address) => receive(address),
        _ => panic!("look-up, connect, listen or receive"),
    };
    if let Err(error) = done {
        println!("error: {error}");
        std::process::exit(1);
    }
}
