//! Steps of a RestoreRequest, each as its Job does it.

mod check;
mod faults;
mod load;
mod plan;
mod switch;
mod world;
