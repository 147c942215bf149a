//! The hash key in Secrets Manager: read as it is, or the start ends.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use erase_user_files::aws::secrets::read_hash_key;
use erase_user_files::target::{HashKey, User};

use crate::server::{Answer, Server};

const NAME: &str = "erase/hash-key";
const KEY: &str = "sixteen letters!";

fn secret(fields: &str) -> Answer {
    Answer::Full(200, format!(r#"{{"Name":"{NAME}",{fields}}}"#))
}

fn text(text: &str) -> Answer {
    secret(&format!(r#""SecretString":"{text}""#))
}

fn fault(status: u16, code: &str) -> Answer {
    Answer::Full(status, format!(r#"{{"__type":"{code}","message":"no {KEY}"}}"#))
}

/// The key, or the error's text; and how many requests it took.
async fn read(script: Vec<Answer>) -> Result<HashKey, String> {
    let server = Server::start(script);
    let credentials = SharedCredentialsProvider::new(Credentials::for_tests());
    let aws = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("eu-central-1"))
        .credentials_provider(credentials)
        .endpoint_url(server.endpoint())
        .build();
    let key = read_hash_key(&aws, NAME).await;
    for request in server.requests_of_any_owner() {
        assert!(request.contains("x-amz-target: secretsmanager.GetSecretValue\r\n"), "{request}");
        assert!(request.ends_with(&format!(r#"{{"SecretId":"{NAME}"}}"#)), "{request}");
    }
    key.map_err(|error| error.to_string())
}

#[tokio::test]
async fn text_of_the_secret_is_the_key() {
    let key = read(vec![text(KEY)]).await.unwrap();
    let user = User::parse("u1").unwrap();
    assert_eq!(key.hash(&user), HashKey::new(KEY.to_owned()).hash(&user));
}

#[tokio::test]
async fn errors_that_pass_are_waited_for() {
    let script = vec![
        fault(400, "ThrottlingException"),
        fault(500, "InternalServiceError"),
        Answer::Full(503, String::new()),
        text(KEY),
    ];
    assert!(read(script).await.is_ok());
    let script = (0..4).map(|_| fault(500, "InternalServiceError")).collect();
    let error = read(script).await.unwrap_err();
    assert!(error.contains("GetSecretValue: InternalServiceError (HTTP 500"), "{error}");
}

#[tokio::test]
async fn secret_that_cannot_be_read_says_what_to_check() {
    for (code, hint) in [
        (
            "AccessDeniedException",
            "is secretsmanager:GetSecretValue granted on this secret, and kms:Decrypt on its key?",
        ),
        ("ResourceNotFoundException", "in the function's region and account"),
        ("DecryptionFailure", "is kms:Decrypt granted on it?"),
        ("InvalidRequestException", "scheduled for deletion?"),
        ("InvalidParameterException", "request id "),
    ] {
        let error = read(vec![fault(400, code)]).await.unwrap_err();
        let begin =
            format!("RECEIPT_HASH_KEY_SECRET is {NAME:?}: GetSecretValue: {code} (HTTP 400");
        assert!(error.starts_with(&begin) && error.contains(hint), "{error}");
        assert!(!error.contains(KEY), "{error}");
    }
}

#[tokio::test]
async fn secret_that_is_no_key_is_rejected_and_not_shown() {
    for (answer, what) in [
        (secret(r#""SecretBinary":"c2l4dGVlbiBsZXR0ZXJzIQ==""#), "is binary or empty"),
        (text(""), "is empty"),
        (text("fifteen letters"), "is too short"),
        (text(r"sixteen letters!\n"), "begins or ends with white space"),
        (text(" sixteen letters!"), "begins or ends with white space"),
    ] {
        let error = read(vec![answer]).await.unwrap_err();
        let begin = format!(
            "RECEIPT_HASH_KEY_SECRET is {NAME:?}: the secret {what}: expected a text of at least 16 characters"
        );
        assert!(error.starts_with(&begin) && !error.contains("teen letters"), "{error}");
    }
}
