//! The timeouts of a request to AWS.

use std::time::Duration;

use aws_sdk_s3::config::timeout::TimeoutConfig;

use crate::deadline::CONNECT_TIMEOUT;

/// The timeouts of one request. See [`CONNECT_TIMEOUT`] for the part that must not vary.
pub(super) fn timeouts(limit: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(limit)
        .operation_timeout(limit)
        .build()
}
