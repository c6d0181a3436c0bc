//! The hold before clients in memory: with a child that is played (`stage`), step by step, and with real ones (`kit`).

mod endings;
mod faults;
mod generations;
mod kit;
mod lead;
mod lists;
mod misled;
mod routes;
mod sessions;
mod shared;
mod stage;
mod stateless;
mod steps;
mod storm;
mod stuck;
