//! The program: flags become a configuration, the configuration becomes one of the three features.

fn main() {}
