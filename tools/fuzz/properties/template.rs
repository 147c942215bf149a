//! Any text as the setting `ERASE_TARGETS`, and as the folder for receipts.

use std::collections::BTreeSet;

use erase_user_files::target::{Prefix, S3Folder, Target, Targets, User};

/// How many users are tried: what is wrong shows with those who are called like a folder.
const MOST_USERS: usize = 12;

/// Takes a list of targets and, on the second line, a folder.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (list, folder) = text.split_once('\n').unwrap_or((text, "s3://data/receipts/"));
    match Targets::parse(list) {
        Ok(targets) => check_targets(&targets, list, folder),
        Err(faults) => assert!(!faults.is_empty()),
    }
}

fn check_targets(targets: &Targets, list: &str, folder: &str) {
    let written: Vec<_> = targets.as_slice().iter().map(ToString::to_string).collect();
    assert_eq!(written, list.split(',').map(str::trim).collect::<Vec<_>>());
    assert_eq!(written.iter().collect::<BTreeSet<_>>().len(), written.len());
    let folder = S3Folder::parse(folder).ok();
    let users = users(&written, folder.as_ref());
    let of_all = |target: &Target| -> Vec<_> {
        users
            .iter()
            .filter(|user| !targets.reserves(user))
            .map(|user| (user.clone(), prefix(target, user)))
            .collect()
    };
    let folders: Vec<_> = targets.as_slice().iter().flat_map(of_all).collect();
    for (mine, outer) in &folders {
        for (theirs, inner) in &folders {
            let is_inside =
                outer.bucket() == inner.bucket() && inner.as_str().starts_with(outer.as_str());
            assert!(!is_inside || mine == theirs, "{mine:?} would erase {inner:?}: {list}");
        }
    }
    let Some(folder) = folder.filter(|folder| targets.target_containing(folder).is_none()) else {
        return;
    };
    for erasure in &users {
        let receipt = folder.key(&format!("{}/erased.json", erasure.full_name()));
        for (_, prefix) in &folders {
            let is_inside =
                folder.bucket() == prefix.bucket() && receipt.starts_with(prefix.as_str());
            assert!(!is_inside, "an erasure takes receipts along: {list}");
        }
    }
}

/// The folder of one user, which has the user's id where the template says so, and is nothing but a
/// folder.
fn prefix(target: &Target, user: &User) -> Prefix {
    let prefix = target.prefix(user);
    let template = target.template();
    assert_eq!(prefix.as_str(), template.replace("{user_id}", &user.full_name()));
    assert_eq!(prefix.bucket(), target.bucket());
    assert!(prefix.as_str().len() <= 1_024, "no key fits into it");
    let folders = prefix.as_str().strip_suffix('/').expect("it ends in a slash");
    assert!(folders.split('/').all(|segment| !matches!(segment, "" | "." | "..")), "{folders:?}");
    assert_eq!(template.matches("{user_id}").count(), 1);
    assert!(!prefix.as_str().contains(['{', '}']) && !prefix.as_str().contains(char::is_control));
    prefix
}

/// Some users, most of them called like a folder somewhere.
fn users(written: &[String], folder: Option<&S3Folder>) -> Vec<User> {
    let receipts = folder.map(|folder| folder.key("")).unwrap_or_default();
    let segments = written
        .iter()
        .map(String::as_str)
        .chain([receipts.as_str()])
        .flat_map(|text| text.split('/'));
    let names: BTreeSet<_> = segments.chain(["u1", "u10"]).collect();
    names.into_iter().filter_map(|name| User::parse(name).ok()).take(MOST_USERS).collect()
}
