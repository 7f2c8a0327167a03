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
    if address.to_canonical().is_loopback() && is_system_paced() {
        let _ = rustix::net::sockopt::set_tcp_congestion(socket, UNPACED);
    }
}

/// The same of a connection, by whom it goes to: one of a listener at any address, or to a server. It has begun with pacing, which
/// leaves a little of its cost.
pub(super) fn unpace_connection(socket: impl AsFd) {
    if !is_system_paced() {
        return;
    }
    let peer = rustix::net::getpeername(&socket).ok().flatten();
    if let Some(peer) = peer.and_then(|peer| SocketAddr::try_from(peer).ok()) {
        unpace(socket, peer.ip());
    }
}

/// Asked once: a change by the administrator is seen at the next start.
fn is_system_paced() -> bool {
    static PACED: OnceLock<bool> = OnceLock::new();
    *PACED.get_or_init(|| std::fs::read_to_string(CHOSEN).is_ok_and(|chosen| chosen.starts_with("bbr")))
}
