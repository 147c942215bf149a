//! The local cloud until Ctrl-C, and the commands that talk to it meanwhile.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use local::{Error, Hop, Ministack, Stack, StoredKind, function_binary, inventory, project_root};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{DOCUMENTS, Failure, HASH_KEY, PHOTOS, PLACES, RECEIPTS_URI, USERS, seed, show};

const POLL: Duration = Duration::from_millis(500);

/// `local up`
pub(crate) async fn up() -> Result<(), Failure> {
    let binary = function_binary()?;
    let cloud = Ministack::start().await?;
    seed::make_buckets(&cloud).await?;
    seed::store_neighbours(&cloud).await?;
    seed::store(
        &cloud,
        PHOTOS,
        "objects of u1 with special characters in their keys",
        seed::odd_objects("u1"),
    )
    .await?;
    for (user, objects, documents) in [("u1", 1_000, 100), ("alice", 200, 20), ("bob", 50, 5)] {
        let what = format!("{objects} objects of {user}");
        seed::store(&cloud, PHOTOS, &what, seed::plain_objects(user, objects)).await?;
        seed::leave_uploads(&cloud, PHOTOS, &format!("{user}/"), 2).await?;
        let folder = format!("{USERS}{user}/");
        seed::leave_uploads(&cloud, DOCUMENTS, &folder, 2).await?;
        seed::store_versions(&cloud, user, &[folder], (documents, 3)).await?;
    }
    let stack =
        cloud.deploy(&binary, &[&PLACES[..], &[("FunctionTimeout", "30")]].concat()).await?;
    let _note = Note::write(&cloud, &stack)?;
    explain(&cloud, &stack);
    let mut seen = 0;
    loop {
        let lines = cloud.function_log_lines(&stack).await?;
        for line in &lines[seen.min(lines.len())..] {
            if let Some(text) =
                Hop::parse(line).as_ref().map(show::hop).or_else(|| show::trouble(line))
            {
                println!("{text}");
            }
        }
        seen = lines.len();
        sleep(POLL).await;
    }
}

fn explain(cloud: &Ministack, stack: &Stack) {
    let program = show::program();
    let (endpoint, queue) = (cloud.endpoint(), &stack.queue_url);
    println!(
        "\nThe local cloud runs at {endpoint} until Ctrl-C. In another terminal:\n\
         \n  make send USER_ID=alice       # request an erasure (u1, alice and bob have files)\
         \n  make receipt USER_ID=alice    # the user's receipts, and an HTML page of each\
         \n  make logs                     # the function's log\
         \n  {program} left alice/         # what is stored of a user\n\
         \nWith the AWS CLI:\n\
         \n  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=us-east-1 AWS_ENDPOINT_URL={endpoint}\
         \n  aws --endpoint-url {endpoint} sqs send-message --queue-url {queue} \\\
         \n      --message-body '{{\"type\":\"user-withdrawn\",\"userId\":\"alice\"}}'\
         \n  aws --endpoint-url {endpoint} s3 ls --recursive s3://{PHOTOS}/alice/\
         \n  aws --endpoint-url {endpoint} s3api list-object-versions --bucket {DOCUMENTS} --prefix {USERS}alice/\
         \n  aws --endpoint-url {endpoint} logs filter-log-events --log-group-name {} \\\
         \n      --query 'events[].message' --output text\
         \n  make smoke STACK={}       # the smoke test of a deployment\n\
         \nFor your own programs: RECEIPTS_URI={RECEIPTS_URI} RECEIPT_HASH_KEY={HASH_KEY}\n\
         \nThe function's work appears here:",
        stack.log_group, stack.name,
    );
}

/// `local send USER_ID`
pub(crate) async fn send(user: &str) -> Result<(), Failure> {
    let (cloud, stack) = Note::read()?;
    let id = cloud
        .send_message(
            &stack.queue_url,
            &json!({ "type": "user-withdrawn", "userId": user }).to_string(),
        )
        .await?;
    println!(
        "sent message {id}; the terminal of `make local` shows what the function does with it"
    );
    Ok(())
}

/// `local left [PREFIX]`
pub(crate) async fn left(prefix: &str) -> Result<(), Failure> {
    const SHOWN: usize = 20;
    let (cloud, _) = Note::read()?;
    for (bucket, prefix) in [(PHOTOS, prefix.to_owned()), (DOCUMENTS, format!("{USERS}{prefix}"))] {
        let stored = inventory(&cloud.s3(), bucket, &prefix).await?;
        println!("s3://{bucket}/{prefix} has {}", show::kinds(show::counts(&stored)));
        for item in stored.iter().take(SHOWN) {
            let kind = match item.kind {
                StoredKind::Object => "object",
                StoredKind::Version => "version",
                StoredKind::DeleteMarker => "delete marker",
                StoredKind::Upload => "upload",
            };
            let line = format!(
                "  {kind:<13}  {}  {}",
                item.key.escape_debug(),
                item.id.as_deref().unwrap_or_default()
            );
            println!("{}", line.trim_end());
        }
        if stored.len() > SHOWN {
            println!("  … and {} more", stored.len() - SHOWN);
        }
    }
    Ok(())
}

/// `local logs`
pub(crate) async fn logs() -> Result<(), Failure> {
    let (cloud, stack) = Note::read()?;
    for line in cloud.function_log_lines(&stack).await? {
        println!("{line}");
    }
    Ok(())
}

/// The local cloud of `local up`, if it runs.
pub(crate) fn running_cloud() -> Result<Ministack, Failure> {
    Ok(Note::read()?.0)
}

/// A file with the address of the cloud for the other commands, as long as the cloud is up.
struct Note(PathBuf);

impl Note {
    fn path() -> PathBuf {
        project_root().join(".local/up.json")
    }

    fn write(cloud: &Ministack, stack: &Stack) -> Result<Self, Error> {
        let note = Self(Self::path());
        let text = json!({
            "endpoint": cloud.endpoint(),
            "queue": stack.queue_url,
            "dead_letter_queue": stack.dead_letter_queue_url,
            "function": stack.function_name,
            "log_group": stack.log_group,
            "stack": stack.name,
        });
        fs::write(&note.0, text.to_string())
            .map_err(|error| Error::service("write .local/up.json", error.to_string()))?;
        Ok(note)
    }

    fn read() -> Result<(Ministack, Stack), Failure> {
        let nothing = || {
            Failure::Nothing("The local cloud does not run. Start it with: make local".to_owned())
        };
        let text = fs::read_to_string(Self::path()).map_err(|_unreadable| nothing())?;
        let note: Value = serde_json::from_str(&text).map_err(|_unreadable| nothing())?;
        let field = |name: &str| note[name].as_str().unwrap_or_default().to_owned();
        let stack = Stack {
            name: field("stack"),
            queue_url: field("queue"),
            dead_letter_queue_url: field("dead_letter_queue"),
            function_name: field("function"),
            log_group: field("log_group"),
        };
        Ok((Ministack::at(&field("endpoint")), stack))
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}
