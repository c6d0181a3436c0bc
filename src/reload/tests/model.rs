//! A world of files, a build, a server and a watcher around the machine, at random: whatever the order of things, after the last edit the newest
//! content goes live or its error is shown.

use super::*;
use crate::random::Random;

/// Some milliseconds, fewer than `bound`.
fn up_to(dice: &mut Random, bound: usize) -> Duration {
    ms(dice.below(bound) as u64)
}

struct World {
    dice: Random,
    now: Duration,
    has_build: bool,
    /// Counts edits; the content of everything.
    version: u64,
    /// Edits the watcher has not told of yet: when it will, and of what.
    seen_at: Vec<(Duration, PathBuf)>,
    /// What the last build made: its version.
    product: u64,
    /// When it ends, what of, and whether it is being cancelled.
    build: Option<(Duration, u64, bool)>,
    start: Option<(Duration, u64)>,
    tick: Option<Duration>,
    live: u64,
    failed: Option<u64>,
    verdict: Option<Verdict>,
    cancels: u32,
    told: BTreeSet<u64>,
    ignored: Vec<PathBuf>,
    /// The server and the build write these.
    output_of_start: bool,
    output_of_build: bool,
    starts: u32,
}

/// What is wrong with a version.
fn breaks_build(version: u64) -> bool {
    version % 7 == 3
}

fn breaks_start(version: u64) -> bool {
    version % 5 == 4
}

impl World {
    fn new(seed: u64) -> World {
        let mut dice = Random(seed);
        let (has_build, output_of_start, output_of_build) = (dice.below(2) == 0, dice.below(4) == 0, dice.below(4) == 0);
        World {
            dice,
            now: ms(0),
            has_build,
            version: 0,
            seen_at: Vec::new(),
            product: 0,
            build: None,
            start: None,
            tick: None,
            live: 0,
            failed: None,
            verdict: None,
            cancels: 0,
            told: BTreeSet::new(),
            ignored: Vec::new(),
            output_of_start,
            output_of_build,
            starts: 0,
        }
    }

    fn edit(&mut self, name: &str) {
        self.version += 1;
        self.write(name);
    }

    fn write(&mut self, name: &str) {
        let seen = self.now + ms(8) + up_to(&mut self.dice, 40);
        self.seen_at.retain(|(_, path)| path != &PathBuf::from(name));
        self.seen_at.push((seen, name.into()));
    }

    /// The next moment at which something happens.
    fn next(&self) -> Option<Duration> {
        let times = self.seen_at.iter().map(|(at, _)| *at).chain(self.tick);
        times.chain(self.build.map(|(at, ..)| at)).chain(self.start.map(|(at, _)| at)).min()
    }

    fn settled(&mut self) -> Vec<PathBuf> {
        let now = self.now;
        let (ready, rest) = self.seen_at.drain(..).partition(|(at, _)| *at <= now);
        self.seen_at = rest;
        Vec::into_iter(ready).map(|(_, path)| path).collect()
    }

    fn feed(&mut self, machine: &mut Machine, input: Input) {
        let actions = machine.on(self.now, input);
        for action in actions {
            match action {
                Action::Look => {
                    let changed = self.settled();
                    if !changed.is_empty() {
                        self.feed(machine, Input::Changed(changed));
                    }
                    // A look in a big tree does not see everything.
                    let pending = !self.seen_at.is_empty() && self.dice.below(4) > 0;
                    self.feed(machine, Input::Looked { pending });
                }
                Action::Wait(time) => self.tick = Some(self.now + time),
                Action::Build => {
                    assert!(self.build.is_none() && self.start.is_none(), "one thing at a time");
                    let took = ms(1) + up_to(&mut self.dice, 400);
                    self.build = Some((self.now + took, self.version, false));
                    if self.output_of_build {
                        self.write("gen.rs");
                    }
                }
                Action::CancelBuild => {
                    self.cancels += 1;
                    assert!(self.cancels <= MOST_CANCELS);
                    let soon = self.now + up_to(&mut self.dice, 20);
                    let build = self.build.as_mut().expect("a build to cancel");
                    (build.0, build.2) = (build.0.min(soon), true);
                }
                Action::Start => {
                    assert!(self.build.is_none() && self.start.is_none(), "one thing at a time");
                    self.starts += 1;
                    let version = if self.has_build { self.product } else { self.version };
                    self.start = Some((self.now + ms(1) + up_to(&mut self.dice, 300), version));
                    if self.output_of_start {
                        self.write("state.json");
                    }
                }
                Action::Ignore(paths) => {
                    self.seen_at.retain(|(_, path)| !paths.contains(path));
                    self.ignored.extend(paths);
                }
                Action::Report { .. } => {}
                Action::Tell { names, .. } => names.into_iter().for_each(|name| assert!(self.told.insert(name), "told twice")),
                Action::Verdict(verdict) => self.verdict = Some(verdict),
            }
        }
    }

    /// Whatever is due now.
    fn happen(&mut self, machine: &mut Machine) {
        let due = |at: &Duration| *at <= self.now;
        if self.tick.as_ref().is_some_and(due) {
            self.tick = None;
            self.feed(machine, Input::Tick);
        }
        if self.build.is_some_and(|(at, ..)| at <= self.now) {
            let (_, version, cancelled) = self.build.take().unwrap();
            // Some builds end just before they are cancelled.
            let built = if cancelled && self.dice.below(4) > 0 {
                Built::Cancelled
            } else {
                self.cancels = 0;
                if breaks_build(version) {
                    self.failed = Some(version);
                    Built::Failed(failure("build"))
                } else {
                    self.product = version;
                    Built::Good
                }
            };
            self.feed(machine, Input::Built(built));
        }
        if self.start.is_some_and(|(at, _)| at <= self.now) {
            let (_, version) = self.start.take().unwrap();
            let started = if self.dice.below(10) == 0 {
                Started::Busy(failure("busy"))
            } else if breaks_start(version) {
                self.failed = Some(version);
                Started::Failed(failure("start"))
            } else {
                self.live = version;
                Started::Live(String::new())
            };
            self.feed(machine, Input::Started(started));
        }
        let changed = self.settled();
        if !changed.is_empty() {
            self.feed(machine, Input::Changed(changed));
        }
    }
}

#[test]
fn after_the_last_edit_the_newest_content_goes_live_or_its_error_is_shown() {
    let mut mistaken = 0;
    for seed in 0..4000 {
        let mut world = World::new(seed);
        let rules = Rules { build: world.has_build, command: BTreeSet::new(), named: BTreeSet::new() };
        let mut machine = Machine::new(rules);
        let (mut forced, mut edits) = (0, 3 + world.dice.below(40));
        let pace = [20, 200, 1500][world.dice.below(3)];
        let mut next_edit = ms(0);
        for step in 0.. {
            assert!(step < 20_000, "seed {seed}: it never ends");
            let happens = world.next();
            match happens {
                Some(at) if edits == 0 || at <= next_edit => {
                    world.now = world.now.max(at);
                    world.happen(&mut machine);
                }
                _ if edits > 0 => {
                    world.now = next_edit;
                    edits -= 1;
                    next_edit += ms(1) + up_to(&mut world.dice, pace);
                    match world.dice.below(8) {
                        0 => world.feed(&mut machine, Input::Expected),
                        1 => {
                            forced += 1;
                            world.feed(&mut machine, Input::Forced(Some(forced)));
                        }
                        2 => world.edit("other.rs"),
                        _ => world.edit("main.rs"),
                    }
                }
                _ => break,
            }
        }
        assert_eq!(machine.stage(), Stage::Idle, "seed {seed}");
        // Somebody who saves at random moments can by chance do for a while exactly what a program does.
        if world.ignored.iter().any(|path| path.ends_with("main.rs") || path.ends_with("other.rs")) {
            mistaken += 1;
            continue;
        }
        match &world.verdict {
            Some(Verdict::Live) => assert_eq!(world.live, world.version, "seed {seed}"),
            Some(Verdict::NotLive { .. }) => assert_eq!(world.failed, Some(world.version), "seed {seed}"),
            Some(Verdict::Pending) | None => panic!("seed {seed}: no verdict"),
        }
        assert_eq!(world.told.len() as u64, forced, "seed {seed}: everybody is told");
    }
    assert!(mistaken <= 1, "{mistaken} of 4000 people were taken for programs");
}
