//! stdio.
#[test]
fn the_server_that_other_tests_start() {}
