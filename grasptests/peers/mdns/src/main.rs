//! mdns-sd: services with a TXT record.

use std::time::{Duration, Instant};

use mdns_sd::{ServiceDaemon, ServiceEvent, ServiceInfo};
use peer_common::{Failure, PATIENCE, number, serve, timed};

/// How long the announcements of a responder take (RFC 6762 §8), with some time to spare.
const ANNOUNCED: Duration = Duration::from_secs(4);

fn main() -> Result<(), Failure> {
    let daemon = ServiceDaemon::new()?;
    serve(|command, arguments| match command {
        "start" => Ok("ready".to_owned()),
        "serve" => {
            for place in 0..number(arguments, 0)? {
                daemon.register(service(place)?.enable_addr_auto())?;
            }
            std::thread::sleep(ANNOUNCED);
            Ok("ready".to_owned())
        }
        "find" => {
            let wanted = number(arguments, 0)?;
            timed(|| find(&daemon, wanted))
        }
        other => Err(format!("unknown: {other}").into()),
    });
    Ok(())
}

fn kind(place: usize) -> String {
    format!("_ex{place}._udp.local.")
}

fn service(place: usize) -> Result<ServiceInfo, Failure> {
    let properties = [("value", "47")];
    Ok(ServiceInfo::new(&kind(place), "bench", "bench.local.", "", 7777, &properties[..])?)
}

/// Browses until a service of the kind is resolved.
fn find(daemon: &ServiceDaemon, place: usize) -> Result<(), Failure> {
    let events = daemon.browse(&kind(place))?;
    let deadline = Instant::now() + PATIENCE;
    while let Ok(event) = events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if let ServiceEvent::ServiceResolved(info) = event {
            let found = info.txt_properties.get_property_val_str("value") == Some("47");
            daemon.stop_browse(&kind(place))?;
            return if found { Ok(()) } else { Err("another value".into()) };
        }
    }
    Err("nothing was found".into())
}
