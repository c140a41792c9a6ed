//! Keys of the keyboard.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{
    figures::TopFigures,
    state::{Command, ViewState},
};

/// Keys and their commands.
const KEYS: [(KeyCode, Command); 20] = [
    (KeyCode::Char('q'), Command::Quit),
    (KeyCode::Esc, Command::Back),
    (KeyCode::Char('s'), Command::Sort),
    (KeyCode::Char('S'), Command::Reverse),
    (KeyCode::Char('f'), Command::Filter),
    (KeyCode::Char('/'), Command::Filter),
    (KeyCode::Enter, Command::Open),
    (KeyCode::Char('k'), Command::HotKeys),
    (KeyCode::Char('o'), Command::Origins),
    (KeyCode::Char('r'), Command::Replicas),
    (KeyCode::Char('p'), Command::Pause),
    (KeyCode::Char(' '), Command::Pause),
    (KeyCode::Char('?'), Command::Help),
    (KeyCode::Char('h'), Command::Help),
    (KeyCode::Up, Command::Up),
    (KeyCode::Down, Command::Down),
    (KeyCode::PageUp, Command::PageUp),
    (KeyCode::PageDown, Command::PageDown),
    (KeyCode::Home, Command::Home),
    (KeyCode::End, Command::End),
];

/// Applies a key to the view. Returns whether the view ends.
pub(super) fn apply(key: KeyEvent, state: &mut ViewState, figures: &TopFigures) -> bool {
    if key.kind == KeyEventKind::Release {
        return false;
    }
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    if is_control && key.code == KeyCode::Char('c') {
        return true;
    }
    if is_control || key.modifiers.contains(KeyModifiers::ALT) {
        return false;
    }
    if state.is_typing && edit(key.code, state) {
        return false;
    }
    let command = KEYS.iter().find(|(code, _)| *code == key.code);
    command.is_some_and(|(_, command)| state.run(*command, figures))
}

/// Applies a key to the filter. Returns whether it is for the filter; arrows are not.
fn edit(code: KeyCode, state: &mut ViewState) -> bool {
    if let KeyCode::Char(letter) = code {
        state.edit_filter(Some(letter));
    } else if code == KeyCode::Backspace {
        state.edit_filter(None);
    } else if code == KeyCode::Enter {
        state.is_typing = false;
    } else if code == KeyCode::Esc {
        state.is_typing = false;
        state.filter.clear();
    } else {
        return false;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::state::Panel;

    fn press(state: &mut ViewState, code: KeyCode) -> bool {
        apply(KeyEvent::new(code, KeyModifiers::NONE), state, &TopFigures::default())
    }

    #[test]
    fn letters_are_commands_or_parts_of_the_filter() {
        let mut state = ViewState::default();
        press(&mut state, KeyCode::Char('f'));
        for letter in "sq".chars() {
            assert!(!press(&mut state, KeyCode::Char(letter)));
        }
        press(&mut state, KeyCode::Backspace);
        assert!(!press(&mut state, KeyCode::Enter));
        assert_eq!((&*state.filter, state.is_typing), ("s", false));
        press(&mut state, KeyCode::Char('f'));
        assert!(!press(&mut state, KeyCode::Esc));
        assert_eq!((&*state.filter, state.is_typing), ("", false));
        assert!(press(&mut state, KeyCode::Char('q')));
    }

    #[test]
    fn control_c_ends_the_view_in_every_state() {
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        let mut state = ViewState { is_typing: true, ..ViewState::default() };
        assert!(apply(control_c, &mut state, &TopFigures::default()));
        assert_eq!(state.filter, "");
    }

    #[test]
    fn other_keys_do_nothing() {
        let mut state = ViewState::default();
        let release =
            KeyEvent::new_with_kind(KeyCode::Char('q'), KeyModifiers::NONE, KeyEventKind::Release);
        assert!(!apply(release, &mut state, &TopFigures::default()));
        let alt = KeyEvent::new(KeyCode::Char('k'), KeyModifiers::ALT);
        assert!(!apply(alt, &mut state, &TopFigures::default()));
        assert!(!press(&mut state, KeyCode::Char('x')));
        assert_eq!(state.panel, Panel::Overview);
        press(&mut state, KeyCode::Char('k'));
        assert_eq!(state.panel, Panel::HotKeys);
    }
}
