//! Against real servers: what is asked, what is marked, what happens when a server does not answer.

mod harness;
mod lookups;
mod marking;
mod options;
mod outages;
