package dev.imago.cli;

import java.util.ArrayList;
import java.util.List;

/** Finds the word that somebody may have meant. */
final class Nearest {
  private Nearest() {}

  /** All commands, those about the command line included; the list is the caller's. */
  static List<String> commands() {
    List<String> all = new ArrayList<>(Help.COMMANDS);
    all.addAll(Extras.COMMANDS);
    return all;
  }

  /**
   * The known word that is nearest; empty if none is near. A word that another one begins with is
   * near it.
   */
  static String of(String word, List<String> known) {
    String best = "";
    int least = word.length() < 3 ? 1 : word.length() < 6 ? 2 : 3;
    for (String each : known) {
      int distance = word.length() > 1 && each.startsWith(word) ? 1 : distance(word, each);
      if (distance < each.length() && (distance < least || (distance == least && best.isEmpty()))) {
        least = distance;
        best = each;
      }
    }
    return best;
  }

  /** Letters to put in, to take away, to change, or neighbours to exchange. */
  static int distance(String a, String b) {
    int[][] cost = new int[a.length() + 1][b.length() + 1];
    for (int i = 0; i <= a.length(); i++) {
      for (int j = 0; j <= b.length(); j++) {
        if (i == 0 || j == 0) {
          cost[i][j] = i + j;
          continue;
        }
        int change = a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1;
        int least = Math.min(cost[i - 1][j], cost[i][j - 1]) + 1;
        least = Math.min(least, cost[i - 1][j - 1] + change);
        boolean exchanged =
            i > 1
                && j > 1
                && a.charAt(i - 1) == b.charAt(j - 2)
                && a.charAt(i - 2) == b.charAt(j - 1);
        cost[i][j] = exchanged ? Math.min(least, cost[i - 2][j - 2] + 1) : least;
      }
    }
    return cost[a.length()][b.length()];
  }
}
