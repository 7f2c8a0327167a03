//! A client that says anything once it is in: whatever it hears is whole messages, and none of what is masked.

use super::client::login;
use super::net::Stream;
use super::server::PEOPLE;
use super::talk::Talk;
use super::{below, sleep};

/// Logs in, says `bytes` in pieces, and listens to the end.
pub async fn assail(stream: Stream, user: &str, secret: &str, bytes: Vec<u8>) -> Result<(), String> {
    let mut talk = Talk::new(stream);
    if !login(&mut talk, user, secret).await {
        return Err("a session over a good line did not begin".to_owned());
    }
    let Some(mut writer) = talk.writer.take() else {
        return Ok(());
    };
    // At the same time as it listens: else both sides might wait for the other to read.
    super::spawn(async move {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(1 + below(rest.len()));
            if writer.write_vec(piece.to_vec()).await.0.is_err() {
                return;
            }
            rest = later;
            if below(8) == 0 {
                sleep(std::time::Duration::from_millis(below(20) as u64)).await;
            }
        }
        writer.finish().await;
    });
    while let Some((tag, payload)) = talk.message().await {
        let shows = |value: &str| payload.windows(value.len()).any(|part| part == value.as_bytes());
        if let Some([number, ..]) = PEOPLE.iter().find(|[_, _, ssn]| shows(ssn)) {
            return Err(format!(
                "what is masked of {number} is in a message {:?}",
                char::from(tag)
            ));
        }
    }
    Ok(())
}
