//! Steps of a RestoreRequest, each as its Job does it.

mod check;
mod faults;
mod late;
mod legacy;
mod load;
mod part;
mod place;
mod plan;
mod refused;
mod replace;
mod switch;
mod triggers;
mod world;
