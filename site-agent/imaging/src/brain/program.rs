//! A program that makes a brain mask, run without a shell.

use super::error::BrainError;
use super::result::Mask;
use crate::folder::FolderError;
use crate::nifti::{self, Volume, write_f32};
use ::program::private;
use ::program::visible::visible;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const IN: &str = "{in}";
const OUT: &str = "{out}";
/// How often it is looked whether the program has ended.
const PAUSE: Duration = Duration::from_millis(20);
/// The last lines of what a program says that an error shows.
const SHOWN_LINES: usize = 5;
/// The most characters of them.
const SHOWN_LETTERS: usize = 600;
/// The most bytes of its output that are read.
const MOST_OUTPUT: u64 = 1 << 20;

/// A command with places for the image and for the result.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// The program, then its arguments.
    words: Vec<String>,
    minutes: f64,
}

impl Program {
    /// Takes a program and its arguments, of which one names `{in}` and one `{out}`. Each word
    /// stays one argument, whatever the paths that take their places.
    ///
    /// # Errors
    /// A place is missing, or the limit is no time.
    pub fn new(words: Vec<String>, minutes: f64) -> Result<Self, BrainError> {
        let names = |place: &str| words.iter().skip(1).any(|word| word.contains(place));
        if !names(IN) || !names(OUT) {
            return Err(BrainError::Places(words.join(" ")));
        }
        if !(minutes > 0.0 && minutes <= 1440.0) {
            return Err(BrainError::Minutes(minutes));
        }
        Ok(Self { words, minutes })
    }

    /// As [`Self::new`], from one line with spaces between the words.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn parse(line: &str, minutes: f64) -> Result<Self, BrainError> {
        Self::new(
            line.split_whitespace().map(str::to_owned).collect(),
            minutes,
        )
    }

    /// What a mask depends on, as well as on the image.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Runs the program on a copy of the image, in a new folder below `work` that is removed again.
    /// The copy's path holds no name of a case.
    ///
    /// # Errors
    /// The program fails or takes too long, or its result is no brain mask of the image.
    pub fn mask(&self, image: &Volume, work: &Path) -> Result<Mask, BrainError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let work = std::path::absolute(work).map_err(FolderError::disk(work))?;
        let folder = work.join(format!("run-{}-{number}", std::process::id()));
        private::create_folder(&folder).map_err(FolderError::disk(&folder))?;
        let mask = self.mask_in(image, &folder);
        // What is left is in a folder that only its owner can read.
        let _ = fs::remove_dir_all(&folder);
        mask
    }

    fn mask_in(&self, image: &Volume, folder: &Path) -> Result<Mask, BrainError> {
        let input = folder.join("image.nii.gz");
        let result = folder.join("brain.nii.gz");
        let output = folder.join("output.txt");
        write_f32(&input, &image.values, &image.source).map_err(|source| BrainError::Image {
            path: input.clone(),
            source,
        })?;
        let status = self.run(&input, &result, &output, folder)?;
        let said = last_words(&output);
        if !status.success() {
            return Err(BrainError::Failed { status, said });
        }
        if !result.exists() {
            return Err(BrainError::Nothing(said));
        }
        let result = nifti::read(&result).map_err(BrainError::Result)?;
        Mask::of_result(&result, image)
    }

    fn run(
        &self,
        input: &Path,
        result: &Path,
        output: &Path,
        folder: &Path,
    ) -> Result<ExitStatus, BrainError> {
        let (input, result) = (input.to_string_lossy(), result.to_string_lossy());
        let mut words = Vec::new();
        for word in &self.words {
            words.push(word.replace(IN, &input).replace(OUT, &result));
        }
        let said = private::create_file(output).map_err(FolderError::disk(output))?;
        let also = said.try_clone().map_err(FolderError::disk(output))?;
        let started = Command::new(&words[0])
            .args(&words[1..])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(said)
            .stderr(also)
            .spawn();
        let mut child = started.map_err(|source| BrainError::Start {
            program: words[0].clone(),
            source,
        })?;
        let ended = self.wait(&mut child).map_err(|source| BrainError::Start {
            program: words[0].clone(),
            source,
        })?;
        ended.ok_or_else(|| BrainError::Late {
            minutes: self.minutes,
            said: last_words(output),
        })
    }

    /// Waits for the program, and ends it after the limit; `None` then.
    fn wait(&self, child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
        let begin = Instant::now();
        let limit = Duration::from_secs_f64(60.0 * self.minutes);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if begin.elapsed() >= limit {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// The end of what a program said, safe to print.
fn last_words(output: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = fs::File::open(output) {
        let length = file.metadata().map_or(0, |found| found.len());
        let mut file = file;
        let start = length.saturating_sub(MOST_OUTPUT);
        if std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(start)).is_ok() {
            let _ = file.take(MOST_OUTPUT).read_to_end(&mut bytes);
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = Vec::new();
    for line in text.lines().rev() {
        if !line.trim().is_empty() && lines.len() < SHOWN_LINES {
            lines.push(visible(line.trim()));
        }
    }
    lines.reverse();
    if lines.is_empty() {
        return "it said nothing".into();
    }
    let said = lines.join(" / ");
    let skipped = said.chars().count().saturating_sub(SHOWN_LETTERS);
    let end: String = said.chars().skip(skipped).collect();
    format!("its last words: {end}")
}
