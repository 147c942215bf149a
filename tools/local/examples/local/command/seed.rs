//! What is stored before the demo: one user with many files, and neighbours whose ids tempt.

use indicatif::{ProgressBar, ProgressStyle};
use local::{Ministack, enable_versioning, start_upload};

use super::{DOCUMENTS, Failure, PHOTOS, RECEIPTS, USERS};

/// A key and what is stored there.
pub(crate) type Object = (String, Vec<u8>);

/// Many plain objects of a user.
pub(crate) fn plain_objects(user: &str, count: usize) -> Vec<Object> {
    (0..count).map(|n| object(format!("{user}/photos/{:02}/{n:05}.jpg", n % 50))).collect()
}

/// Objects whose keys have broken other people's deletion scripts.
///
/// None has a newline: ministack's policies would not let the function near it (S3's would).
pub(crate) fn odd_objects(user: &str) -> Vec<Object> {
    let names = [
        "",
        "a folder/",
        "with space",
        "plus+plus",
        "100%",
        "%2F",
        "a&b<c>'d'\"e\"",
        "double//slash",
        "./dot",
        "../dots",
        "carriage\rreturn",
        "control\u{1}character",
        "tab\tand\u{7f}",
        "na\u{ef}ve-\u{1f600}.png",
        "\u{fffd}\u{2028}",
    ];
    let mut objects: Vec<Object> =
        names.iter().map(|name| object(format!("{user}/{name}"))).collect();
    let longest = 1024 - user.len() - 1;
    objects.push(object(format!("{user}/{}", "x".repeat(longest))));
    objects
}

/// Objects of all users except `u1`, each chosen because a careless prefix or decoding would take
/// it too.
pub(crate) fn neighbours() -> Vec<Object> {
    let prefixes = [
        "u10/",
        "u11/",
        "u1.bak/",
        "u1-old/",
        "u/",
        "U1/",
        "other/u1/",
        "u1%2F",
        " u1/",
        "u1+/",
        "/u1/",
    ];
    let mut objects: Vec<Object> = prefixes
        .iter()
        .flat_map(|prefix| (0..3).map(move |n| object(format!("{prefix}keep-{n}.txt"))))
        .collect();
    objects.push(object("u1".to_owned()));
    objects
}

/// An object whose content is known by its key.
pub(crate) fn object(key: String) -> Object {
    let body = format!("the content of {key}").into_bytes();
    (key, body)
}

/// Makes the buckets.
pub(crate) async fn make_buckets(cloud: &Ministack) -> Result<(), Failure> {
    for bucket in [PHOTOS, DOCUMENTS, RECEIPTS] {
        cloud.create_bucket(bucket).await?;
    }
    Ok(enable_versioning(&cloud.s3(), DOCUMENTS).await?)
}

/// What a bucket with versions keeps in each folder: so many documents of three versions each,
/// every fifth hidden by a delete marker, and delete markers with nothing below.
pub(crate) async fn store_versions(
    cloud: &Ministack,
    what: &str,
    folders: &[String],
    (documents, lone_markers): (usize, usize),
) -> Result<(), Failure> {
    let in_folders = |name: String| folders.iter().map(move |folder| format!("{folder}{name}"));
    let keys = (0..documents).flat_map(|n| in_folders(format!("{n:04} of +100%.txt")));
    let lone = (0..lone_markers).flat_map(|n| in_folders(format!("gone/{n:04}.txt")));
    let hidden: Vec<String> = keys.clone().step_by(5).chain(lone).collect();
    let versions: Vec<Object> = (1..=3).flat_map(|_| keys.clone()).map(object).collect();
    let what = format!("{} versions and {} delete markers of {what}", versions.len(), hidden.len());
    store(cloud, DOCUMENTS, &what, versions).await?;
    Ok(cloud.delete_plainly(DOCUMENTS, hidden).await?)
}

/// Begins uploads and leaves them unfinished.
pub(crate) async fn leave_uploads(
    cloud: &Ministack,
    bucket: &str,
    folder: &str,
    count: usize,
) -> Result<(), Failure> {
    for n in 0..count {
        start_upload(
            &cloud.s3(),
            bucket,
            &format!("{folder}unfinished {n}.mov"),
            b"the first part of a film",
        )
        .await?;
    }
    Ok(())
}

/// Stores the neighbours of `u1` in both buckets: nothing of this may change.
pub(crate) async fn store_neighbours(cloud: &Ministack) -> Result<(), Failure> {
    let objects = neighbours();
    let what =
        format!("{} objects of other users: u10/, u1.bak/, U1/, other/u1/, …", objects.len());
    store(cloud, PHOTOS, &what, objects).await?;
    let folders = ["u10/", "u1.bak/", "U1/"];
    for folder in folders {
        leave_uploads(cloud, PHOTOS, folder, 1).await?;
    }
    // The last one is in a folder of this name, but not where this bucket has its users.
    let folders =
        folders.map(|folder| format!("{USERS}{folder}")).into_iter().chain(["u1/".to_owned()]);
    let folders: Vec<String> = folders.collect();
    store_versions(cloud, "other users", &folders, (2, 1)).await?;
    for folder in &folders {
        leave_uploads(cloud, DOCUMENTS, folder, 1).await?;
    }
    Ok(())
}

/// Stores objects, with a progress bar on a terminal.
pub(crate) async fn store(
    cloud: &Ministack,
    bucket: &str,
    what: &str,
    objects: Vec<Object>,
) -> Result<(), Failure> {
    let bar = ProgressBar::new(u64::try_from(objects.len()).unwrap_or(u64::MAX));
    bar.set_style(bar_style("storing"));
    if bar.is_hidden() {
        println!("storing {what}");
    }
    cloud.put_objects(bucket, objects, || bar.inc(1)).await?;
    bar.finish_and_clear();
    if !bar.is_hidden() {
        println!("stored {what}");
    }
    Ok(())
}

/// A bar with a verb before it.
pub(crate) fn bar_style(verb: &str) -> ProgressStyle {
    ProgressStyle::with_template(&format!(
        "{{bar:40}} {{human_pos:>6}} of {{human_len}} objects {verb}"
    ))
    .unwrap_or_else(|_| ProgressStyle::default_bar())
}
