//! What must not make a call wait longer than it may: signals, a stopped process, callbacks of the program, peers that have
//! gone, browsers and pipes that take nothing, addresses that do not answer.

mod callbacks;
mod deadlines;
mod endings;
mod places;
