//! What users and all programs share: resource types, conditions, reasons, names, Task, RunReport, Manifest, and the JSON objects beside it. No I/O.

pub mod conditions;
pub mod contents;
pub mod details;
pub mod digest;
pub mod globals;
pub mod labels;
pub mod manifest;
pub mod names;
pub mod owner;
pub mod progress;
pub mod prune;
pub mod reasons;
pub mod report;
pub mod restore;
pub mod retention;
pub mod settings;
pub mod sizing;
pub mod task;
pub mod text;
pub mod v1alpha1;
