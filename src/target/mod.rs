//! User ids, targets, prefixes and keys: which user is erased, and where. Unsafe values cannot be
//! created.

mod folder;
mod ids;
mod key;
mod owners;
mod ownership;
mod pattern;
mod targets;
mod template;
mod user;

pub use self::folder::{ParseFolderError, S3Folder};
pub use self::ids::{
    Characters, IdLength, IdRules, MAX_USER_ID_BYTES, UserId, UserIdError, UserIdPattern,
};
pub use self::key::{Key, MAX_KEY_BYTES, OutsidePrefix, Prefix};
pub use self::owners::{AccountId, BucketOwners, ParseAccountError};
pub use self::targets::{MAX_TARGETS, Targets};
pub use self::template::{ParseTargetError, Target};
pub use self::user::{HashKey, User, hex};
