//! What a campaign found, as text.

use super::campaign::Row;

/// The table of jobs.
pub fn table(rows: &[Row]) -> String {
    let mut text = line("job", ["kills", "resumes", "failures", "calls", "seconds"].map(str::to_string));
    let mut sums = [0, 0, 0];
    for row in rows {
        let counts = [row.kills, row.resumes, row.failures.len() as u64];
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        let [kills, resumes, failures] = counts.map(|count| count.to_string());
        let seconds = format!("{:.1}", row.duration.as_secs_f64());
        text += &line(row.job.name(), [kills, resumes, failures, row.kinds.len().to_string(), seconds]);
    }
    let [kills, resumes, failures] = sums.map(|sum| sum.to_string());
    text + &line("all", [kills, resumes, failures, String::new(), String::new()])
}

/// Stands under the table.
pub const NOTES: &str = "\
calls: of an undisturbed run, those that change something in its folder; seconds: how long it takes";

fn line(label: &str, cells: [String; 5]) -> String {
    let mut line = format!("{label:12}");
    for cell in cells {
        line += &format!("{cell:>10}");
    }
    line.trim_end().to_string() + "\n"
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::soak::campaign::Failure;
    use crate::soak::jobs::Job;

    #[test]
    fn a_row_for_each_job_and_one_for_all() {
        let row = |job, kills, failures| Row {
            job,
            kinds: vec![b'w'; 447],
            duration: Duration::from_millis(660),
            kills,
            resumes: kills + 1,
            failures,
        };
        let moments = vec!["17+".parse().expect("a moment"), "350ms".parse().expect("a moment")];
        let failure = Failure { job: Job::Merge, moments, what: "killed: out.h5 is missing".to_string() };
        assert_eq!(failure.to_string(), "merge, killed: out.h5 is missing");
        assert_eq!(failure.again(), "--job merge --at 17+,350ms");
        let text = table(&[row(Job::Diffusion, 12, vec![]), row(Job::Merge, 5, vec![failure])]);
        let expected = "\
job              kills   resumes  failures     calls   seconds
diffusion           12        13         0       447       0.7
merge                5         6         1       447       0.7
all                 17        19         1
";
        assert_eq!(text, expected);
    }
}
