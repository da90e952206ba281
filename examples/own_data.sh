# bash examples/own_data.sh reviews.csv new.csv
#
# Your own data, end to end: check, train, predict. reviews.csv has the columns `text` and `label`, new.csv the column
# `text`. Words behind the two files are further overrides of the run, such as model.path=DIR.
set -euo pipefail

train_file=$1
new_file=$2
shift 2
task=(task=text "data.text=$train_file" 'task.columns=[text]' task.label=label model=minilm budget=rank:2 "$@")

# 1. Labels and their counts, parameters, memory and time. Nothing is written.
gelora run "${task[@]}" dry_run=true

# 2. All stages. A tenth of the rows is held out to evaluate on. The same command again would resume, or find it done.
# Its last lines, alone on standard output, name the file of results in the directory of this run.
summary=$(gelora run "${task[@]}")
echo "$summary"
run=$(sed -n 's|^results: *\(.*\)/result\.json$|\1|p' <<< "$summary")
gelora ls "$run"

# 3. Labels for new rows, with the probability of each label.
gelora predict "$run" "file=$new_file" output=predictions.csv
cat predictions.csv
