//! Retries a request after a wait. This is the only loop that sends a request again.

use std::future::Future;
use std::time::Duration;

use tokio::time::sleep;

/// Sends a request until it succeeds, or until `wait_for` returns the error instead of the wait
/// before the next attempt. `wait_for` gets the error and the number of attempts so far, from 1.
pub async fn retry<T, E, Response>(
    mut request: impl FnMut() -> Response,
    mut wait_for: impl FnMut(E, u32) -> Result<Duration, E>,
) -> Result<T, E>
where
    Response: Future<Output = Result<T, E>>,
{
    let mut attempts = 0;
    loop {
        match request().await {
            Ok(value) => return Ok(value),
            Err(error) => {
                attempts += 1;
                sleep(wait_for(error, attempts)?).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_between_attempts_until_one_succeeds_or_no_wait_is_left() {
        let start = Instant::now();
        let mut sent = 0;
        let mut request = || {
            sent += 1;
            std::future::ready(if sent < 3 { Err(sent) } else { Ok(sent) })
        };
        let seconds = |_error, attempt| Ok(Duration::from_secs(attempt));
        let wait = |error: u32, attempt: u32| seconds(error, u64::from(attempt));
        assert_eq!(retry(&mut request, wait).await, Ok(3));
        assert_eq!(start.elapsed(), Duration::from_secs(1 + 2));
        let failed: Result<(), u32> = retry(
            || std::future::ready(Err(7)),
            |error, attempt| match attempt {
                1 => Ok(Duration::ZERO),
                _ => Err(error),
            },
        )
        .await;
        assert_eq!(failed, Err(7));
    }
}
