// A service in JavaScript.
import { ResponseOutparam, OutgoingBody, OutgoingResponse, Fields } from "wasi:http/types@0.2.12";
export const incomingHandler = {
  handle(request, out) {
    const response = new OutgoingResponse(new Fields());
    const body = response.body();
    const stream = body.write();
    ResponseOutparam.set(out, { tag: "ok", val: response });
    stream.blockingWriteAndFlush(new TextEncoder().encode("hello from JavaScript\n"));
    stream[Symbol.dispose]();
    OutgoingBody.finish(body, undefined);
  },
};
