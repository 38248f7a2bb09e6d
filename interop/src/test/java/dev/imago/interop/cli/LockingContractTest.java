package dev.imago.interop.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.storage.FileStorage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What both programs say while somebody else uses the image. */
class LockingContractTest {
  @BeforeAll
  static void build() throws Exception {
    Lab.build();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "info @base.q",
        "info --output=json @base.q",
        "info -U @base.q",
        "info --backing-chain @top.q",
        "map @base.q",
        "map @top.q",
        "map -U --output=json @base.q",
        "check @base.q",
        "check -U @base.q",
        "compare @base.q @empty.q",
        "compare @empty.q @base.q",
        "compare -U @base.q @base.q",
        "convert @base.q @x",
        "convert @top.q @x",
        "convert -U @base.q @x",
        "convert -n -O qcow2 @empty.q @base.q",
        "convert -O qcow2 @empty.q @base.q",
        "convert @empty.q @base.q",
        "create -f qcow2 @base.q 1M",
        "create -f raw @base.q 1M",
        "create -f qcow2 -b base.q -F qcow2 @x",
        "resize @base.q 2M",
        "resize @top.q 4M",
        "rebase -b base.q -F qcow2 @empty.q",
        "rebase -U -b base.q -F qcow2 @empty.q",
        "rebase -b empty.q -F qcow2 @top.q",
        "rebase -U -b empty.q -F qcow2 @top.q",
        "rebase -u -b empty.q -F qcow2 @top.q",
        "rebase -U -b empty.q -F qcow2 @base.q",
        "rebase -u -b empty.q -F qcow2 @base.q",
        "commit @top.q",
        "commit -b base.q @d/t3.q",
        "amend -o compat=0.10 @base.q",
        "amend -o compat=0.10 @top.q",
      })
  void anImageThatIsBeingWritten(String line) throws Exception {
    same(line, FileStorage.Options.readWrite());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "info @base.q",
        "map @top.q",
        "check @base.q",
        "compare @base.q @base.q",
        "convert @base.q @x",
        "convert -n -O qcow2 @empty.q @base.q",
        "convert -O qcow2 @empty.q @base.q",
        "create -f qcow2 @base.q 1M",
        "create -f qcow2 -b base.q -F qcow2 @x",
        "resize @base.q 2M",
        "resize @top.q 4M",
        "rebase -b base.q -F qcow2 @empty.q",
        "rebase -U -b base.q -F qcow2 @empty.q",
        "rebase -b empty.q -F qcow2 @top.q",
        "rebase -U -b empty.q -F qcow2 @top.q",
        "rebase -u -b empty.q -F qcow2 @top.q",
        "rebase -U -b empty.q -F qcow2 @base.q",
        "rebase -u -b empty.q -F qcow2 @base.q",
        "commit @top.q",
        "commit -b base.q @d/t3.q",
        "amend -o compat=0.10 @base.q",
        "amend -o compat=0.10 @top.q",
      })
  void anImageThatIsBeingRead(String line) throws Exception {
    same(line, FileStorage.Options.readOnly());
  }

  private static void same(String line, FileStorage.Options options) throws Exception {
    String[] words = CommandLines.words(line, Lab.WORK);
    Answer qemu = answer(options, () -> Answer.ofQemu(words));
    Answer ours = answer(options, () -> Answer.ofOurs(words));

    assertThat(ours).isEqualTo(qemu);
    if (ours.exit() != 0) {
      assertThat(Files.mismatch(Lab.WORK.resolve("base.q"), Lab.FIXTURES.resolve("base.q")))
          .as("base.q is as it was")
          .isEqualTo(-1);
    }
  }

  private interface Question {
    Answer ask() throws Exception;
  }

  private static Answer answer(FileStorage.Options options, Question question) throws Exception {
    Lab.fill();
    Path image = Lab.WORK.resolve("base.q");
    try (FileStorage user = open(image, options)) {
      assertThat(user.size()).isPositive();
      return question.ask();
    }
  }

  private static FileStorage open(Path image, FileStorage.Options options) throws IOException {
    return FileStorage.open(image, options);
  }
}
