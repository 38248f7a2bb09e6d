import com.google.googlejavaformat.java.Formatter;
import com.google.googlejavaformat.java.FormatterException;
import com.google.googlejavaformat.java.ImportOrderer;
import com.google.googlejavaformat.java.JavaFormatterOptions;
import com.google.googlejavaformat.java.RemoveUnusedImports;
import java.io.IOException;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/**
 * Formats every Java file below a folder with google-java-format, or with {@code --check} only
 * names those that are not formatted and exits with 1.
 *
 * <p>A program of its own because the formatter uses the JDK's parser, and Maven's JVM may be too
 * old for our sources. Run by {@code ./format} and by {@code mvn verify}.
 */
final class Format {
  private static final Set<String> SKIPPED = Set.of("target", ".git", ".imago-cache");

  private Format() {}

  public static void main(String[] args) throws IOException {
    boolean check = args[0].equals("--check");
    List<Path> sources = sources(Path.of(args[args.length - 1]));
    var formatter = new Formatter(JavaFormatterOptions.defaultOptions());
    int wrong = 0;
    int broken = 0;
    for (Path source : sources) {
      String before = Files.readString(source);
      String after;
      try {
        after =
            formatter.formatSource(
                RemoveUnusedImports.removeUnusedImports(
                    ImportOrderer.reorderImports(before, JavaFormatterOptions.Style.GOOGLE)));
      } catch (FormatterException e) {
        System.err.println(source + ": " + e.getMessage());
        broken++;
        continue;
      }
      if (!after.equals(before)) {
        wrong++;
        System.err.println((check ? "not formatted: " : "formatted: ") + source);
        if (!check) {
          Files.writeString(source, after);
        }
      }
    }
    if (check && wrong > 0) {
      System.err.println(wrong + " of " + sources.size() + " files: run ./format");
    }
    if (broken > 0 || (check && wrong > 0)) {
      System.exit(1);
    }
  }

  private static List<Path> sources(Path root) throws IOException {
    List<Path> found = new ArrayList<>();
    Files.walkFileTree(
        root,
        new SimpleFileVisitor<>() {
          @Override
          public FileVisitResult preVisitDirectory(Path folder, BasicFileAttributes attributes) {
            Path name = folder.getFileName();
            return name != null && SKIPPED.contains(name.toString())
                ? FileVisitResult.SKIP_SUBTREE
                : FileVisitResult.CONTINUE;
          }

          @Override
          public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) {
            if (file.toString().endsWith(".java")) {
              found.add(file);
            }
            return FileVisitResult.CONTINUE;
          }
        });
    found.sort(null);
    return found;
  }
}
