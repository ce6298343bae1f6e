//! A guest that sends one HTTP request, GET / to the authority in its first word, and prints the answer's body.
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{Fields, Method, OutgoingRequest, Scheme};
use wasip2::io::streams::StreamError;

fn fetch(authority: &str) -> Result<(), String> {
    let request = OutgoingRequest::new(Fields::new());
    request.set_method(&Method::Get).map_err(|_| "method")?;
    request.set_scheme(Some(&Scheme::Http)).map_err(|_| "scheme")?;
    request.set_authority(Some(authority)).map_err(|_| "authority")?;
    request.set_path_with_query(Some("/")).map_err(|_| "path")?;
    let future = handle(request, None).map_err(|error| format!("{error:?}"))?;
    future.subscribe().block();
    let response = future.get().ok_or("no answer")?.map_err(|_| "taken")?.map_err(|error| format!("{error:?}"))?;
    println!("{}", response.status());
    let body = response.consume().map_err(|_| "body")?;
    let stream = body.stream().map_err(|_| "stream")?;
    loop {
        match stream.blocking_read(1 << 16) {
            Ok(data) => print!("{}", String::from_utf8_lossy(&data)),
            Err(StreamError::Closed) => return Ok(()),
            Err(error) => return Err(format!("{error:?}")),
        }
    }
}

fn main() {
    if let Err(error) = fetch(&std::env::args().nth(1).expect("an authority")) {
        println!("error: {error}");
        std::process::exit(1);
    }
}
