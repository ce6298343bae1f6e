//! A service that answers with what the server named by the variable UPSTREAM has answered.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme,
};

struct Proxy;
wasip2::http::proxy::export!(Proxy);

fn fetched(authority: &str) -> Result<Vec<u8>, String> {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).map_err(|_| "scheme")?;
    request.set_authority(Some(authority)).map_err(|_| "authority")?;
    request.set_path_with_query(Some("/")).map_err(|_| "path")?;
    let future = handle(request, None).map_err(|error| format!("{error:?}"))?;
    future.subscribe().block();
    let response = future.get().ok_or("no answer")?.map_err(|_| "taken")?.map_err(|error| format!("{error:?}"))?;
    let body = response.consume().map_err(|_| "body")?;
    let stream = body.stream().map_err(|_| "stream")?;
    stream.blocking_read(4096).map_err(|error| format!("{error:?}"))
}

impl Guest for Proxy {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        let upstream = std::env::var("UPSTREAM").unwrap_or_default();
        let text = fetched(&upstream).unwrap_or_else(|error| format!("error: {error}").into_bytes());
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().unwrap();
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().unwrap();
        stream.blocking_write_and_flush(&text).unwrap();
        drop(stream);
        OutgoingBody::finish(body, None).unwrap();
    }
}
