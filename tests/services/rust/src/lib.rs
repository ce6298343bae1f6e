// A service with a path for each thing that a test wants of it.

use std::time::Duration;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Service;

wasip2::http::proxy::export!(Service);

const PAGE: usize = 64 << 10;
const CHUNKS: u32 = 10;

impl Guest for Service {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let number = || query.parse::<u64>().unwrap_or(0);
        match path {
            "/sleep" => {
                std::thread::sleep(Duration::from_millis(number()));
                answer(out, &["slept\n"], 0);
            }
            "/stream" => answer(out, &["chunk\n"; CHUNKS as usize], number()),
            "/trap" => panic!("as asked for"),
            "/spin" => loop {
                std::hint::black_box(0);
            },
            "/memory" => answer(out, &[&format!("{}\n", grown())], 0),
            "/say" => {
                println!("on stdout");
                eprintln!("on stderr");
                answer(out, &["said\n"], 0);
            }
            "/variable" => answer(out, &[&std::env::var(query).unwrap_or_default()], 0),
            "/file" => answer(out, &[&std::fs::read_to_string(query).unwrap_or_else(|e| e.to_string())], 0),
            _ => answer(out, &["hello\n"], 0),
        }
    }
}

// So many pages a memory could grow by, of a GiB.
fn grown() -> usize {
    let mut pages = 0;
    while pages < (1 << 30) / PAGE && core::arch::wasm32::memory_grow(0, 16) != usize::MAX {
        pages += 16;
    }
    pages
}

fn answer(out: ResponseOutparam, parts: &[&str], pause: u64) {
    let response = OutgoingResponse::new(Fields::new());
    let body = response.body().unwrap();
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().unwrap();
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            std::thread::sleep(Duration::from_millis(pause));
        }
        stream.blocking_write_and_flush(part.as_bytes()).unwrap();
    }
    drop(stream);
    OutgoingBody::finish(body, None).unwrap();
}
