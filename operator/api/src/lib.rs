//! What users and all programs share: resource types, conditions, reasons, names, Task, RunReport, Manifest. No I/O.

pub mod conditions;
pub mod labels;
pub mod manifest;
pub mod names;
pub mod progress;
pub mod reasons;
pub mod report;
pub mod sizing;
pub mod task;
pub mod v1alpha1;
