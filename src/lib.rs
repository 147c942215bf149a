//! Deletes everything that a withdrawn user stored in S3, and proves it.
//!
//! An erasure > hop > round > pass > page > batch:
//!
//! - An SQS event comes to [`lambda::handler`]. Each of its messages is one [`message::erasure`].
//! - A *hop* of it is one call of an [engine](erasure::engine): it runs *rounds* over all targets
//!   until a fresh round finds nothing, or until the stop time.
//! - A round is a list of *passes*, two for each target. A pass lists *pages*, and deletes them in
//!   *batches*.
//! - What the engine reports becomes the outcome of the message: a receipt, a continuation in the
//!   queue, or a failure that SQS delivers again.
//!
//! Imports only go down: [`lambda`] and [`aws`] are the edges, [`message`] is the wire, [`erasure`]
//! the core (its algorithm is in `erasure/design.md`), and below are [`limiter`], [`ports`] and
//! [`target`].
//!
//! # Invariants
//!
//! - **Nothing outside the user's prefix is deleted.** Only [`target::Prefix::claim`] makes a
//!   [`target::Key`], and only keys can be deleted. No message names a bucket or a prefix. A dry
//!   run has only a [`ports::store::ReadStore`] to read from, and no [`ports::store::DeleteStore`].
//! - **"Erased" is reported only after a fresh and complete listing found nothing.** One line
//!   returns [`erasure::report::HopEnd::Erased`].
//! - **No request is lost.** [`lambda::handler::Handler::handle`] acknowledges a message only when
//!   its work is proven done and its receipt stored, or its continuation is in the queue. Whatever
//!   crashes, SQS delivers the message again.
//!
//! # Glossary
//!
//! | term | meaning |
//! |---|---|
//! | erasure | the deletion of one user's files, from the request to the verified end |
//! | target | a bucket and a template of a prefix or key, one entry of `ERASE_TARGETS` or `ERASE_KEYS` |
//! | scope | an id that says where a user id holds, such as a tenant's (`SCOPE_IDS`) |
//! | prefix | the template with the ids in place: everything that an erasure may touch |
//! | neighbour | a key that S3 lists under a prefix, and that is another user's (only under `ERASE_KEYS`) |
//! | hop | one erasure's share of one invocation |
//! | round | one traversal of all targets; a fresh round began in this hop |
//! | pass | one kind (uploads, or data) at one target, in one round |
//! | page | one listing response, at most 1,000 entries |
//! | batch | items of one page that are deleted together, at most 1,000 |
//! | continuation | the message by which a hop hands an erasure to the next hop |
//! | checkpoint | the position that a continuation carries (on the wire: `bookmark`) |
//! | key range | a part of a listing that is listed in parallel (on the wire: `lanes`) |
//! | low-water mark | the place before which every listed item has an outcome |
//! | throttled, denied | S3 asks for fewer requests; S3 forbids a request |
//! | rejected | a message, or a request, is not valid |
//! | retained | kept by Object Lock |
//! | object limit | `MAX_OBJECTS` |
//! | stop time, reserve | when the work of a hop ends; the time between that and the deadline |

pub mod aws;
pub mod config;
pub mod deadline;
pub mod erasure;
pub mod lambda;
pub mod limiter;
pub mod message;
pub mod ports;
pub mod target;
