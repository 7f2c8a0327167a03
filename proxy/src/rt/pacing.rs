//! How the kernel sends on connections within this machine.
//!
//! BBR, where it is the system's choice, sends by a timer: it looks for the rate of a path that has one. Between two processes of
//! one machine there is none, and the timers cost more than the copies (`bench/records`); there, RFC 5681's way is the better one.
//! Source: tcp(7), TCP_CONGESTION; ip-sysctl, tcp_congestion_control.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::OnceLock;

/// Part of every kernel, and anybody's to choose.
const UNPACED: &str = "reno";
const CHOSEN: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// Takes what a listener with that address accepts out of the system's pacing, if it has one. What stays paced is only slower.
pub(super) fn unpace(socket: impl AsFd, address: IpAddr) {
    if is_system_paced() {
        unpace_here(socket, address);
    }
}

/// The same of a connection, by whom it goes to: one of a listener at any address, or to a server. It has begun with pacing, which
/// leaves a little of its cost.
pub(super) fn unpace_connection(socket: impl AsFd) {
    if !is_system_paced() {
        return;
    }
    unpace_to_peer(socket);
}

fn unpace_to_peer(socket: impl AsFd) {
    let peer = rustix::net::getpeername(&socket).ok().flatten();
    if let Some(peer) = peer.and_then(|peer| SocketAddr::try_from(peer).ok()) {
        unpace_here(socket, peer.ip());
    }
}

fn unpace_here(socket: impl AsFd, address: IpAddr) {
    if address.to_canonical().is_loopback() {
        let _ = rustix::net::sockopt::set_tcp_congestion(socket, UNPACED);
    }
}

/// Asked once: a change by the administrator is seen at the next start.
fn is_system_paced() -> bool {
    static PACED: OnceLock<bool> = OnceLock::new();
    *PACED.get_or_init(|| std::fs::read_to_string(CHOSEN).is_ok_and(|chosen| chosen.starts_with("bbr")))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use rustix::net::sockopt::{set_tcp_congestion, tcp_congestion};

    use super::*;

    /// Another way than ours that every user may choose here, where there is one.
    fn other() -> Option<String> {
        let allowed = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_allowed_congestion_control").ok()?;
        let mut ways = allowed.split_whitespace().filter(|way| *way != UNPACED);
        ways.next().map(str::to_owned)
    }

    #[test]
    fn connections_of_this_machine_are_sent_as_they_come_and_others_as_the_system_says() {
        let Some(other) = other() else { return };
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let dial = || TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        set_tcp_congestion(&listener, &other).expect("allowed");
        unpace_here(&listener, Ipv4Addr::new(192, 0, 2, 1).into());
        assert_eq!(
            tcp_congestion(&listener).expect("TCP"),
            other,
            "it goes elsewhere"
        );

        unpace_here(&listener, Ipv4Addr::LOCALHOST.into());
        let dialled = dial();
        let (accepted, _) = listener.accept().expect("somebody came");
        assert_eq!(
            tcp_congestion(&accepted).expect("TCP"),
            UNPACED,
            "as the listener"
        );

        set_tcp_congestion(&dialled, &other).expect("allowed");
        unpace_to_peer(&dialled);
        assert_eq!(tcp_congestion(&dialled).expect("TCP"), UNPACED, "by its peer");
        let (unix, _) = UnixStream::pair().expect("a pair");
        unpace_to_peer(&unix); // nothing to do, and no harm
    }
}
