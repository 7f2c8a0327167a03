//! Connections of data planes: one JSON object a line over `link.sock`, as `linegate-link` lays down.
//!
//! A data plane says Hello and gets a snapshot, then changes in order. The socket is the operator's own (mode 0600), so
//! what comes over it is trusted to be a data plane, and still bounded: a line, the size of a hold, the holds that wait.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use linegate_link::{LINE_BYTES_MAX, ToControl, decode};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::Control;
use crate::book::Line;

/// A connection that does not say Hello within this time is closed.
const HELLO_WAIT: Duration = Duration::from_secs(10);

/// A data plane that takes none of a message for this long is gone.
const WRITE_WAIT: Duration = Duration::from_secs(30);

/// The first line is a name and a number.
const HELLO_BYTES_MAX: usize = 4096;

/// Accepts data planes until the task is ended.
pub async fn serve(control: Arc<Control>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let control = Arc::clone(&control);
                tokio::spawn(async move { plane(control, stream).await });
            }
            Err(error) => {
                tracing::warn!(%error, "a data plane could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await; // out of descriptors: let some close
            }
        }
    }
}

async fn plane(control: Arc<Control>, stream: UnixStream) {
    let (read, write) = stream.into_split();
    let mut read = BufReader::with_capacity(64 << 10, read);
    let mut line = Vec::new();
    let hello = tokio::time::timeout(HELLO_WAIT, read_line(&mut read, &mut line, HELLO_BYTES_MAX)).await;
    let name = match (hello, decode::<ToControl>(&line)) {
        (Ok(Ok(true)), Ok(ToControl::Hello { name, .. })) => name,
        _ => return tracing::warn!("a connection on the link socket did not begin with Hello"),
    };
    let now = control.now();
    let (id, lines) = match control.book().connect(name.clone(), now) {
        Ok(connected) => connected,
        Err(error) => return tracing::error!(%error, "the snapshot does not fit one line"),
    };
    tracing::info!(plane = name, id, "data plane connected");
    let ended = tokio::select! {
        ended = listen(&control, id, &mut read, &mut line) => ended,
        ended = speak(lines, write) => ended,
    };
    control.book().disconnect(id);
    match ended {
        Ok(()) => tracing::info!(plane = name, id, "data plane disconnected"),
        Err(error) => tracing::warn!(plane = name, id, %error, "data plane disconnected"),
    }
}

/// Writes what the queue holds; the queue ends when the data plane was cut off.
async fn speak(mut lines: mpsc::Receiver<Line>, mut write: impl AsyncWrite + Unpin) -> io::Result<()> {
    while let Some(line) = lines.recv().await {
        for piece in line.chunks(256 << 10) {
            tokio::time::timeout(WRITE_WAIT, write.write_all(piece))
                .await
                .map_err(io::Error::other)??;
        }
    }
    Err(io::Error::other("it fell behind"))
}

async fn listen(
    control: &Arc<Control>,
    id: u64,
    read: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> io::Result<()> {
    while read_line(read, line, LINE_BYTES_MAX).await? {
        match decode::<ToControl>(line).map_err(io::Error::other)? {
            ToControl::Hello { .. } => return Err(io::Error::other("a second Hello")),
            ToControl::Ack { version } => {
                if !control.book().acked(id, version) {
                    return Err(io::Error::other("it confirmed a version that was never sent"));
                }
            }
            ToControl::HoldAsked { hold } => control.hold_asked(id, hold).await,
            ToControl::HoldGone { hold, why } => control.hold_gone(&hold, &why).await,
            ToControl::UnknownKey { issuer } => control.key_is_unknown(&issuer),
        }
        line.shrink_to(64 << 10);
    }
    Ok(())
}

/// Reads one line without its end into `line`; false at the end of the stream. Memory grows with what arrived, never
/// with what was announced.
async fn read_line(
    read: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    bytes_max: usize,
) -> io::Result<bool> {
    line.clear();
    loop {
        let bytes = read.fill_buf().await?;
        if bytes.is_empty() {
            return if line.is_empty() {
                Ok(false)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(bytes.len());
        if line.len() + taken > bytes_max {
            return Err(io::Error::other("a line is too long"));
        }
        line.extend_from_slice(&bytes[..taken]);
        read.consume(taken + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_read_the_same_however_they_are_cut() {
        let text = b"{}\n{\"a\":1}\n\n".as_slice();
        for capacity in 1..=text.len() {
            let mut read = BufReader::with_capacity(capacity, text);
            let (mut line, mut lines) = (Vec::new(), Vec::new());
            while read_line(&mut read, &mut line, 16)
                .await
                .expect("no line is too long")
            {
                lines.push(String::from_utf8(line.clone()).expect("text"));
            }
            assert_eq!(lines, ["{}", "{\"a\":1}", ""], "pieces of {capacity}");
        }
    }

    #[tokio::test]
    async fn a_long_line_and_half_a_line_are_errors() {
        let mut line = Vec::new();
        let long = [b'x'; 100];
        assert!(
            read_line(&mut BufReader::new(long.as_slice()), &mut line, 99)
                .await
                .is_err()
        );
        assert!(
            read_line(&mut BufReader::new(b"half".as_slice()), &mut line, 99)
                .await
                .is_err()
        );
    }
}
