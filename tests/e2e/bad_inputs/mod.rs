//! Bad input gets one line that names it and says what to do, exit code 1 (failure) or 2 (usage), and leaves nothing.
//! So does a disk that is full.

mod answers;
mod files;
mod full_disk;
mod kinds;
mod outputs;
mod settings;
