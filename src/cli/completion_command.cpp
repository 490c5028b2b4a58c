#include "command.h"

namespace icbd::cli {
namespace {

// The words come from `icbd __complete`, which asks the server. bash cuts words at the characters
// of COMP_WORDBREAKS, and replaces only what is handed over as $2: of "win11@st" that is "@st". So
// the line is cut here, and what bash keeps is taken off the words.
constexpr std::string_view bash_script = R"bash(# bash completion for icbd

_icbd() {
  local line=${COMP_LINE:0:COMP_POINT} words=() word kept
  read -r -a words <<<"$line"
  case $line in
    *[[:space:]]) words+=("") ;;
  esac
  word=${words[${#words[@]} - 1]}
  mapfile -t COMPREPLY < <("$1" __complete "${words[@]:1}" 2>/dev/null)
  case ${COMPREPLY[0]-} in
    :files)
      COMPREPLY=()
      compopt -o default 2>/dev/null
      return
      ;;
    :directories)
      COMPREPLY=()
      compopt -o dirnames 2>/dev/null
      return
      ;;
  esac
  # The name of an image is followed by that of a version.
  case ${COMPREPLY[*]-} in
    *@) [[ ${#COMPREPLY[@]} -eq 1 ]] && compopt -o nospace 2>/dev/null ;;
  esac
  kept=${word%"$2"}
  COMPREPLY=("${COMPREPLY[@]#"$kept"}")
}

complete -F _icbd icbd
)bash";

}  // namespace

Action define_completion(Arguments& arguments) {
  const auto shell = std::make_shared<std::string>();
  arguments.choice("SHELL", {"bash"}, *shell, "The shell");
  arguments.footer(
      "For this shell: eval \"$(icbd completion bash)\". For all: into the file\n"
      "/usr/share/bash-completion/completions/icbd.");
  // Kept until the command has run: it is written when the command line is parsed.
  return WorkHere([shell](const Place& place) -> Result<int> {
    place.terminal.out << bash_script;
    return exit_done;
  });
}

}  // namespace icbd::cli
