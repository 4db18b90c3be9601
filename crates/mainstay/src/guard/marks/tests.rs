//! Questions and answers with a search that is made up. Nothing is asserted about how long it takes.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// What was searched for, and the test's answer to it.
struct Stage {
    marks: Marks,
    asked: Receiver<(String, bool)>,
    found: Sender<io::Result<usize>>,
}

fn stage() -> Stage {
    let (tell, asked) = channel();
    let (found, answers) = channel::<io::Result<usize>>();
    let look = move |_: Who, search: &Search<'_>| {
        let mark = search.marker.expect("by mark").to_owned();
        tell.send((mark, search.kill)).unwrap();
        answers.recv().unwrap()
    };
    let marks = Marks::start_with("marks", || {}, look).unwrap();
    Stage { marks, asked, found }
}

impl Stage {
    /// Waits for the answer.
    fn answer(&mut self, who: Who) -> io::Result<usize> {
        loop {
            if let Some(answer) = self.marks.answer(who) {
                return answer;
            }
            std::thread::yield_now();
        }
    }

    /// Waits until the thread has answered, and takes nothing.
    fn until_answered(&self) {
        let desk = &self.marks.desk;
        while desk.answered.load(Ordering::Acquire) != desk.asked.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
    }
}

const WEB: Who = Who::One { slot: 0, generation: 1 };
const DATA: Who = Who::One { slot: 1, generation: 1 };
const ALL: Who = Who::All { deaths: 1 };

#[test]
fn a_search_that_hangs_holds_up_nobody_and_is_answered_when_it_is_over() {
    let mut stage = stage();
    assert!(stage.marks.ask(WEB, "tree/web/", true));
    assert_eq!(stage.asked.recv().unwrap(), ("tree/web/".to_owned(), true));
    // From here on it hangs.
    for _ in 0..1_000 {
        assert!(stage.marks.answer(WEB).is_none());
        assert!(!stage.marks.ask(WEB, "tree/web/", true));
        assert!(!stage.marks.ask(DATA, "tree/data/", true));
    }
    stage.found.send(Ok(3)).unwrap();
    assert_eq!(stage.answer(WEB).unwrap(), 3);
    assert!(stage.marks.answer(WEB).is_none(), "told once");
    assert!(stage.marks.ask(DATA, "tree/data/", false), "whoever comes next");
    assert_eq!(stage.asked.recv().unwrap(), ("tree/data/".to_owned(), false));
    stage.found.send(Err(io::Error::from_raw_os_error(5))).unwrap();
    assert_eq!(stage.answer(DATA).unwrap_err().raw_os_error(), Some(5));
}

#[test]
fn an_answer_that_nobody_takes_gives_way_and_is_nobody_elses() {
    let mut stage = stage();
    assert!(stage.marks.ask(ALL, "tree/", false));
    stage.found.send(Ok(0)).unwrap();
    stage.until_answered();
    // The daemon was started and has died again: what was found then says nothing about now.
    let later = Who::All { deaths: 2 };
    assert!(stage.marks.answer(later).is_none());
    assert!(!stage.marks.ask(later, "tree/", false), "it may be taken in this turn");
    assert!(stage.marks.ask(later, "tree/", false));
    stage.found.send(Ok(1)).unwrap();
    assert_eq!(stage.answer(later).unwrap(), 1);
    assert!(stage.marks.answer(ALL).is_none());
}
