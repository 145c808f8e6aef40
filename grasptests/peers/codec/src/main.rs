//! Typed decoding of messages of GRASP with general libraries for CBOR: `peer-codec minicbor` or `peer-codec ciborium`.

mod by_ciborium;
mod by_minicbor;
mod message;

use std::fmt::Debug;

use peer_common::{Failure, bytes, is_set, rate, serve};

fn main() {
    if is_set("ciborium") {
        answer(|bytes| by_ciborium::decode(bytes).map_err(|error| error.to_string()));
    } else {
        answer(|bytes| by_minicbor::decode(bytes).map_err(|error| error.to_string()));
    }
}

fn answer<T: Debug>(decode: impl Fn(&[u8]) -> Result<T, String>) {
    serve(|command, arguments| match command {
        "show" => Ok(format!("{:?}", decode(&bytes(arguments)?)?)),
        "decode" => Ok(rate(&bytes(arguments)?, &decode)),
        other => Err::<String, Failure>(format!("unknown: {other}").into()),
    });
}
