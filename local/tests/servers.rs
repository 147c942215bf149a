//! The local servers themselves: they come up side by side, and nothing of them stays.

use std::error::Error;
use std::process::Command;

use local::{Ministack, Seaweed, list_keys, put_objects, read_objects};

const KEYS: [&str; 4] = ["u1/a", "u1/b c+d%", "u1/\u{1f600}", "u2/a"];

fn objects() -> Vec<(String, Vec<u8>)> {
    KEYS.iter().map(|key| ((*key).to_owned(), key.as_bytes().to_vec())).collect()
}

#[tokio::test]
async fn two_ministacks_share_nothing() -> Result<(), Box<dyn Error>> {
    let (one, other) = tokio::try_join!(Ministack::start(), Ministack::start_without_policies())?;
    for cloud in [&one, &other] {
        cloud.create_bucket("photos").await?;
    }
    one.put_objects("photos", objects(), || {}).await?;
    assert_eq!(list_keys(&one.s3(), "photos", "u1/").await?.len(), 3);
    assert!(list_keys(&other.s3(), "photos", "").await?.is_empty());
    assert_eq!(read_objects(&one.s3(), "photos", "").await?, objects());
    Ok(())
}

#[tokio::test]
async fn seaweed_stores_lists_and_is_gone_when_dropped() -> Result<(), Box<dyn Error>> {
    let seaweed = Seaweed::start().await?;
    seaweed.create_bucket("photos").await?;
    put_objects(&seaweed.s3(), "photos", objects()).await?;
    let mut keys = list_keys(&seaweed.s3(), "photos", "").await?;
    keys.sort();
    assert_eq!(keys, KEYS);
    let address = seaweed.endpoint().trim_start_matches("http://").to_owned();
    drop(seaweed);
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "the server outlives its value");
    Ok(())
}

#[test]
fn the_program_explains_itself() -> Result<(), Box<dyn Error>> {
    // Cargo builds examples before tests, into the folder beside theirs.
    let tests = std::env::current_exe()?;
    let program = tests.ancestors().nth(2).ok_or("no target folder")?.join("examples/local");
    let output = Command::new(&program).output()?;
    assert!(String::from_utf8(output.stdout)?.contains("run "));
    let output = Command::new(&program).arg("nonsense").output()?;
    assert!(!output.status.success());
    Ok(())
}
