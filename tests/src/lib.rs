//! Real parts for tests and for the demo: a cluster, PostgreSQL, S3, a data set, the operator, and the means to check
//! that what is in the bucket can be restored by hand.

pub mod api_server;
pub mod bucket;
pub mod by_hand;
pub mod cluster;
pub mod command;
pub mod compare;
pub mod dataset;
pub mod gate;
pub mod held;
pub mod jobs;
pub mod kubelet;
pub mod namespaces;
pub mod node;
pub mod old_backup;
pub mod operator;
pub mod package;
pub mod parts;
pub mod policy;
pub mod process;
pub mod random;
pub mod restore;
pub mod secrets_search;
pub mod story;
pub mod suite;
pub mod tls;
pub mod wait;
