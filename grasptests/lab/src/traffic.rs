//! What the interfaces of a node or of the whole lab have sent and dropped, as the kernel counts it.

use std::{fs, ops::AddAssign};

use crate::{Lab, LabError, Node, error::Doing as _, namespace::Namespace};

/// Counts of interfaces since they were made, all protocols together, `lo` left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames sent.
    pub frames_sent: u64,
    /// Bytes of these frames, with their Ethernet headers.
    pub bytes_sent: u64,
    /// Frames that the system has dropped, coming or going: the receiver's queue was full, for instance.
    pub frames_dropped: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.frames_sent += other.frames_sent;
        self.bytes_sent += other.bytes_sent;
        self.frames_dropped += other.frames_dropped;
    }
}

impl Node {
    /// What its interfaces have sent and dropped.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when `/proc` is not mounted.
    pub fn traffic(&self) -> Result<Traffic, LabError> {
        traffic(self.namespace()).doing(|| format!("read the counts of node {}", self.name()))
    }
}

impl Lab {
    /// How many frames were dropped on links, at whichever end, or on the way.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when `/proc` is not mounted.
    pub fn frames_dropped(&self) -> Result<u64, LabError> {
        let mut sum = traffic(&self.switch).doing(|| "read the counts of the links".into())?;
        for node in self.nodes() {
            sum += node.traffic()?;
        }
        Ok(sum.frames_dropped)
    }
}

fn traffic(namespace: &Namespace) -> std::io::Result<Traffic> {
    let text = namespace.run("lab-traffic", || fs::read_to_string("/proc/thread-self/net/dev"))??;
    let mut sum = Traffic::default();
    text.lines().filter_map(parsed).for_each(|interface| sum += interface);
    Ok(sum)
}

/// A line about an interface: eight columns of what was received, then as many of what was sent.
fn parsed(line: &str) -> Option<Traffic> {
    let (name, columns) = line.trim().split_once(':')?;
    let columns: Vec<u64> = columns.split_whitespace().filter_map(|column| column.parse().ok()).collect();
    match columns.as_slice() {
        [_, _, _, dropped_in, _, _, _, _, bytes_sent, frames_sent, _, dropped_out, ..] if name != "lo" => {
            let frames_dropped = dropped_in + dropped_out;
            Some(Traffic { frames_sent: *frames_sent, bytes_sent: *bytes_sent, frames_dropped })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_the_kernel_writes_them() {
        let heading = " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed";
        let eth0 = "  eth0:    1006      13    0    2    0     0          0         0      936      12    0    3    0     0       0          0";
        let traffic = Traffic { frames_sent: 12, bytes_sent: 936, frames_dropped: 5 };
        assert_eq!(
            (parsed(heading), parsed(eth0), parsed(&eth0.replace("eth0", "lo"))),
            (None, Some(traffic), None)
        );
    }
}
