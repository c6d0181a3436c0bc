//! Tables: inputs on the left, what is to be done on the right. Time moves only where a step says so.

mod model;

use super::*;

struct Stand {
    machine: Machine,
    now: Duration,
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn paths(names: &str) -> Vec<PathBuf> {
    names.split_whitespace().map(PathBuf::from).collect()
}

fn failure(why: &str) -> Failure {
    Failure { why: why.to_owned(), output: String::new() }
}

impl Stand {
    /// `bin` is COMMAND's program, `main.py` its argument, `conf` is named besides.
    fn new(build: bool) -> Stand {
        let command: BTreeSet<PathBuf> = paths("bin main.py").into_iter().collect();
        let named = command.iter().cloned().chain(paths("conf")).collect();
        Stand { machine: Machine::new(Rules { build, command, named }), now: ms(1000) }
    }

    /// What is done, in words. A look finds nothing moving unless told otherwise.
    fn on(&mut self, input: Input) -> String {
        let mut said = Vec::new();
        for action in self.machine.on(self.now, input) {
            said.push(match action {
                Action::Look => {
                    said.push(self.on(Input::Looked { pending: false }));
                    continue;
                }
                Action::Wait(time) => format!("wait {}", time.as_millis()),
                Action::Build => "build".to_owned(),
                Action::CancelBuild => "cancel".to_owned(),
                Action::Start => "start".to_owned(),
                Action::Ignore(files) => format!("ignore {files:?}"),
                Action::Report { failure, newer } => format!("failed {}{}", failure.why, if newer { " newer" } else { "" }),
                Action::Tell { names, live, text } => format!("tell {names:?} {live} {text}"),
                Action::Verdict(Verdict::Pending) => "pending".to_owned(),
                Action::Verdict(Verdict::Live) => "LIVE".to_owned(),
                Action::Verdict(Verdict::NotLive { saved, failure }) => format!("NOT {} {}", saved.as_millis(), failure.why),
            });
        }
        said.retain(|text| !text.is_empty());
        said.join(", ")
    }

    fn raw(&mut self, input: Input) -> Vec<Action> {
        self.machine.on(self.now, input)
    }

    fn changed(&mut self, names: &str) -> String {
        self.on(Input::Changed(paths(names)))
    }

    fn live(&mut self) -> String {
        self.on(Input::Started(Started::Live("ok".into())))
    }

    fn start_failed(&mut self) -> String {
        self.on(Input::Started(Started::Failed(failure("start"))))
    }

    fn built(&mut self, built: Built) -> String {
        self.on(Input::Built(built))
    }

    fn after(&mut self, milliseconds: u64) -> &mut Stand {
        self.now += ms(milliseconds);
        self
    }

    fn tick(&mut self, milliseconds: u64) -> String {
        self.after(milliseconds).on(Input::Tick)
    }
}

#[test]
fn an_edit_goes_live() {
    let mut stand = Stand::new(false);
    assert_eq!(stand.changed("a.py"), "pending, start");
    assert_eq!(stand.live(), "LIVE");
    assert_eq!(stand.machine.stage(), Stage::Idle);
}

#[test]
fn a_broken_edit_is_said_and_the_next_one_tried() {
    let mut stand = Stand::new(false);
    stand.changed("a.py");
    assert_eq!(stand.after(100).start_failed(), "failed start, NOT 1000 start");
    assert_eq!(stand.on(Input::Expected), "NOT 1000 start", "the same verdict, for who waited");
    assert_eq!(stand.changed("a.py"), "pending, start");
    assert_eq!(stand.live(), "LIVE");
}

#[test]
fn a_start_is_never_aborted_and_what_changed_meanwhile_comes_after_it() {
    let mut stand = Stand::new(false);
    stand.changed("a.py");
    assert_eq!(stand.changed("a.py b.py"), "");
    assert_eq!(stand.changed("b.py"), "");
    assert_eq!(stand.live(), "start", "no verdict while newer content is on its way");
    assert_eq!(stand.live(), "LIVE");
    stand.changed("a.py");
    stand.changed("b.py");
    assert_eq!(stand.start_failed(), "failed start newer, start");
    assert_eq!(stand.live(), "LIVE");
}

#[test]
fn nothing_begins_while_something_moves() {
    let mut stand = Stand::new(false);
    assert_eq!(stand.raw(Input::Changed(paths("a.py"))), [Action::Verdict(Verdict::Pending), Action::Look]);
    for _ in 0..50 {
        assert_eq!(stand.raw(Input::Looked { pending: true }), [Action::Wait(LOOK_AGAIN)]);
        assert_eq!(stand.after(5).raw(Input::Tick), [Action::Look]);
        assert_eq!(stand.raw(Input::Changed(paths("b.py"))), []);
    }
    assert_eq!(stand.raw(Input::Looked { pending: false }), [Action::Start]);
    stand.live();
    // But not for ever.
    stand.raw(Input::Changed(paths("a.py")));
    stand.after(5000);
    assert_eq!(stand.raw(Input::Looked { pending: true }), [Action::Start]);
}

#[test]
fn no_verdict_is_out_while_something_moves() {
    let mut stand = Stand::new(false);
    stand.changed("a.py");
    assert_eq!(stand.raw(Input::Started(Started::Live("ok".into()))), [Action::Look]);
    assert_eq!(stand.raw(Input::Looked { pending: true }), [Action::Wait(LOOK_AGAIN)]);
    assert_eq!(stand.after(5).raw(Input::Tick), [Action::Look]);
    assert_eq!(stand.raw(Input::Changed(paths("a.py"))), []);
    assert_eq!(stand.on(Input::Looked { pending: false }), "start");
}

#[test]
fn a_request_that_saw_something_move_waits_for_it_even_if_it_is_undone() {
    let mut stand = Stand::new(false);
    assert_eq!(stand.raw(Input::Expected), [Action::Look]);
    assert_eq!(stand.raw(Input::Expected), []);
    assert_eq!(stand.raw(Input::Looked { pending: true }), [Action::Wait(LOOK_AGAIN)]);
    assert_eq!(stand.after(5).raw(Input::Tick), [Action::Look]);
    assert_eq!(stand.raw(Input::Looked { pending: false }), [Action::Verdict(Verdict::Live)]);
    assert_eq!(stand.machine.stage(), Stage::Idle);
}

#[test]
fn a_build_comes_first_and_its_failure_is_a_verdict() {
    let mut stand = Stand::new(true);
    assert_eq!(stand.changed("a.rs"), "pending, build");
    assert_eq!(stand.built(Built::Good), "start");
    assert_eq!(stand.live(), "LIVE");
    stand.changed("a.rs");
    assert_eq!(stand.built(Built::Failed(failure("build"))), "failed build, NOT 1000 build");
    stand.changed("a.rs");
    stand.built(Built::Good);
    assert_eq!(stand.start_failed(), "failed start, NOT 1000 start");
}

#[test]
fn a_newer_change_cancels_a_build_three_times_running_then_it_finishes() {
    let mut stand = Stand::new(true);
    stand.changed("a.rs");
    for other in ["b.rs", "c.rs", "d.rs"] {
        assert_eq!(stand.changed(other), "cancel");
        assert_eq!(stand.changed(other), "", "once");
        assert_eq!(stand.built(Built::Cancelled), "build");
    }
    assert_eq!(stand.changed("e.rs"), "");
    assert_eq!(stand.built(Built::Good), "start");
    assert_eq!(stand.live(), "build", "what came too late");
    assert_eq!(stand.changed("f.rs"), "cancel", "counted anew");
    // A build that ended before it could be cancelled has ended.
    assert_eq!(stand.built(Built::Failed(failure("build"))), "failed build newer, build");
    stand.built(Built::Good);
    assert_eq!(stand.live(), "LIVE");
}

#[test]
fn what_a_build_makes_of_the_command_is_no_change() {
    let mut stand = Stand::new(true);
    stand.changed("a.rs");
    assert_eq!(stand.changed("bin main.py"), "");
    assert_eq!(stand.raw(Input::Built(Built::Good)), [Action::Look]);
    assert_eq!(stand.raw(Input::Looked { pending: true }), [Action::Wait(LOOK_AGAIN)]);
    assert_eq!(stand.changed("bin"), "", "noticed only now");
    assert_eq!(stand.tick(5), "start");
    assert_eq!(stand.live(), "LIVE");
    // At any other time it is.
    assert_eq!(stand.changed("bin"), "pending, build");
    assert_eq!(stand.changed("conf"), "cancel");
}

#[test]
fn a_build_that_fails_while_the_command_is_mended_is_repeated_once() {
    let mut stand = Stand::new(true);
    assert_eq!(stand.changed("main.py"), "pending, build");
    for _ in 0..2 {
        assert_eq!(stand.after(50).changed("main.py"), "");
        let again = stand.built(Built::Failed(failure("lint")));
        assert!(again.starts_with("failed lint newer") && again.ends_with("build"), "{again}");
        // Not again and again: it may be the build that writes it.
        assert_eq!(stand.after(50).changed("main.py"), "");
        assert!(stand.built(Built::Failed(failure("lint"))).starts_with("failed lint, NOT"));
        assert_eq!(stand.after(5000).changed("main.py"), "pending, build");
    }
}

#[test]
fn a_forced_reload_is_told_how_it_ends() {
    let mut stand = Stand::new(false);
    assert_eq!(stand.on(Input::Forced(Some(7))), "pending, start");
    assert_eq!(stand.on(Input::Forced(Some(8))), "", "this start may be too old for it");
    assert_eq!(stand.live(), "tell [7] true ok, start");
    assert_eq!(stand.start_failed(), "failed start, tell [8] false start, NOT 1000 start");
    stand.changed("a.py");
    stand.after(50).on(Input::Forced(Some(9)));
    assert_eq!(stand.start_failed(), "failed start newer, start");
    assert_eq!(stand.live(), "tell [9] true ok, LIVE");
    assert_eq!(stand.on(Input::Forced(None)), "pending, start");
}

#[test]
fn who_forced_a_cancelled_build_is_told_about_the_next_one() {
    let mut stand = Stand::new(true);
    assert_eq!(stand.on(Input::Forced(Some(1))), "pending, build");
    assert_eq!(stand.changed("a.rs"), "cancel");
    assert_eq!(stand.built(Built::Cancelled), "build");
    assert_eq!(stand.built(Built::Failed(failure("build"))), "failed build, tell [1] false build, NOT 1000 build");
}

#[test]
fn a_program_that_is_being_written_is_tried_again_until_it_is_whole() {
    let mut stand = Stand::new(false);
    stand.changed("bin");
    let busy = || Input::Started(Started::Busy(failure("busy")));
    assert_eq!(stand.on(busy()), "wait 50");
    assert_eq!(stand.tick(20), "wait 30");
    assert_eq!(stand.tick(30), "start");
    assert_eq!(stand.on(busy()), "wait 50");
    assert_eq!(stand.changed("bin"), "start", "written: no need to wait");
    assert_eq!(stand.live(), "LIVE");
    stand.changed("bin");
    stand.on(busy());
    stand.tick(50);
    assert_eq!(stand.after(11_000).on(busy()), "failed busy, NOT 1050 busy");
}

#[test]
fn what_each_start_writes_is_output() {
    let mut stand = Stand::new(false);
    stand.changed("a.py");
    for start in 0..3 {
        assert_eq!(stand.after(100).changed("state.json"), "");
        assert_eq!(stand.after(50).live(), if start < 2 { "start" } else { "wait 500" });
    }
    assert_eq!(stand.tick(500), "start");
    assert_eq!(stand.after(110).changed("state.json"), "");
    assert_eq!(stand.live(), "ignore [\"state.json\"], start", "its last content counts once more");
    assert_eq!(stand.after(100).changed("state.json"), "");
    assert_eq!(stand.live(), "LIVE");
    assert_eq!(stand.changed("state.json"), "");
    assert_eq!(stand.changed("a.py"), "pending, start");
}

#[test]
fn requests_cut_the_pause_short_and_then_it_takes_more_runs() {
    let mut stand = Stand::new(false);
    stand.changed("a.py");
    for start in 0..6 {
        assert_eq!(stand.after(100).changed("state.json"), "");
        assert_eq!(stand.after(50).live(), if start < 2 { "start" } else { "wait 500" });
        if start > 1 {
            assert_eq!(stand.after(10).on(Input::Expected), "start");
        }
    }
    assert_eq!(stand.after(100).changed("state.json"), "");
    assert_eq!(stand.live(), "ignore [\"state.json\"], start");
}

#[test]
fn what_the_old_server_writes_as_it_ends_is_output_too() {
    let mut stand = Stand::new(false);
    stand.changed("a.py");
    for start in 0..6 {
        assert_eq!(stand.after(100).live(), "LIVE");
        assert_eq!(stand.after(80).changed("state.json"), if start < 5 { "pending, start" } else { "pending, wait 500" });
    }
    assert_eq!(stand.tick(500), "start");
    assert_eq!(stand.after(100).live(), "LIVE");
    assert_eq!(stand.after(80).changed("state.json"), "pending, ignore [\"state.json\"], start");
    assert_eq!(stand.after(100).live(), "LIVE");
    assert_eq!(stand.after(80).changed("state.json"), "");
    // A person, later.
    for _ in 0..9 {
        assert_eq!(stand.after(700).changed("a.py"), "pending, start");
        assert_eq!(stand.after(100).live(), "LIVE");
    }
}

#[test]
fn who_saves_the_next_edit_when_the_last_one_has_answered_is_not_taken_for_output() {
    let mut stand = Stand::new(false);
    stand.changed("a.py");
    for _ in 0..100 {
        assert_eq!(stand.after(100).live(), "LIVE");
        assert_eq!(stand.after(5).on(Input::Edited(paths("a.py"))), "pending, start");
    }
    // Before the start is reported.
    for _ in 0..100 {
        assert_eq!(stand.after(100).on(Input::Edited(paths("a.py"))), "");
        assert_eq!(stand.live(), "start");
    }
}

#[test]
fn what_each_build_writes_is_output() {
    let mut stand = Stand::new(true);
    stand.changed("a.rs");
    for build in 0..3 {
        assert_eq!(stand.after(1000).changed("gen.rs"), "cancel");
        assert_eq!(stand.built(Built::Cancelled), if build < 2 { "build" } else { "wait 2000" });
    }
    assert_eq!(stand.tick(2000), "build");
    assert_eq!(stand.after(1100).changed("gen.rs"), "", "the fourth finishes");
    assert_eq!(stand.built(Built::Good), "start");
    assert_eq!(stand.live(), "ignore [\"gen.rs\"], build");
    assert_eq!(stand.after(1000).changed("gen.rs"), "");
    assert_eq!(stand.built(Built::Good), "start");
    assert_eq!(stand.live(), "LIVE");
}

#[test]
fn a_person_who_saves_one_file_often_is_not_taken_for_output() {
    // In the pause.
    let mut stand = Stand::new(false);
    stand.changed("a.py");
    for _ in 0..10 {
        for start in 0..3 {
            stand.after(100).changed("a.py");
            assert_eq!(stand.after(50).live(), if start < 2 { "start" } else { "wait 500" });
        }
        assert_eq!(stand.after(100).changed("a.py"), "start");
    }
    // At another moment of the run.
    let mut stand = Stand::new(true);
    stand.changed("a.rs");
    for offset in [4000, 2000, 5000, 1000, 3000, 9000, 500] {
        stand.after(offset).changed("a.rs");
        let mut done = stand.built(Built::Good);
        if done == "start" {
            done = stand.live();
        }
        if done.starts_with("wait") {
            assert!(stand.after(30_000).on(Input::Tick).ends_with("build"));
        }
        assert!(!done.contains("ignore"), "{done}");
    }
    // Together with something else, or when the file has a name on the command line.
    for (first, later) in [("out.json", "a.py out.json"), ("main.py", "main.py"), ("conf", "conf")] {
        let mut stand = Stand::new(false);
        stand.changed(first);
        for turn in 0..9 {
            stand.changed(if turn % 2 == 0 { first } else { later });
            let done = stand.live();
            assert!(done == "start" || done.starts_with("wait") && stand.tick(10_000) == "start", "{done}");
        }
    }
}
