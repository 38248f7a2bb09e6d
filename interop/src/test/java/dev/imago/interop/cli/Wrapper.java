package dev.imago.interop.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Plays what a program that calls qemu-img does, with qemu-img and with ours. */
final class Wrapper {
  private Wrapper() {}

  /**
   * Gives a row of command lines first to qemu-img, then to ours, each on fresh fixtures, and
   * requires the same answers.
   *
   * @return ours
   */
  static List<Answer> both(String... lines) throws Exception {
    Lab.fill();
    List<Answer> qemu = new ArrayList<>();
    for (String line : lines) {
      qemu.add(Answer.ofQemu(CommandLines.words(line, Lab.WORK)));
    }
    Lab.fill();
    List<Answer> ours = new ArrayList<>();
    for (int i = 0; i < lines.length; i++) {
      Answer answer = Answer.ofOurs(CommandLines.words(lines[i], Lab.WORK));
      assertThat(essence(answer)).as(lines[i]).isEqualTo(essence(qemu.get(i)));
      ours.add(answer);
    }
    return ours;
  }

  /** Without what is each program's own: how often progress is told, how many blocks a file has. */
  private static Answer essence(Answer answer) {
    String out =
        answer
            .withoutSteps()
            .out()
            .replaceAll("( {4}\\([0-9.]+/100%\\)\r)\\1+", "$1")
            .replaceAll("\"actual-size\": [0-9]+", "\"actual-size\": N")
            .replaceAll("disk size: .*", "disk size: N");
    return new Answer(answer.exit(), out, answer.err());
  }

  /** CloudStack's way to read {@code info}: lines, cut at the first colon, later ones win. */
  static Map<String, String> cloudStackInfo(String text) {
    Map<String, String> info = new LinkedHashMap<>();
    for (String line : text.split("\n", -1)) {
      String[] parts = line.split(":", 2);
      if (parts.length == 2) {
        String key = parts[0].strip().replace(" ", "_");
        String value = parts[1].strip();
        if (key.equals("virtual_size")) {
          Matcher matcher = Pattern.compile("^.*\\(([0-9]+).*$").matcher(value);
          value = matcher.matches() ? matcher.group(1) : value;
        }
        info.put(key, value);
      }
    }
    return info;
  }

  /** vdsm's way to read {@code -p}: it stops at anything else between two carriage returns. */
  static List<Double> vdsmProgress(String text) {
    List<Double> percents = new ArrayList<>();
    Pattern pattern = Pattern.compile("\\s*\\(([\\d.]+)/100%\\)\\s*");
    for (String part : text.split("\r", -1)) {
      if (!part.isBlank()) {
        Matcher matcher = pattern.matcher(part);
        assertThat(matcher.matches()).as("progress '%s'", part).isTrue();
        percents.add(Double.valueOf(matcher.group(1)));
      }
    }
    return percents;
  }
}
