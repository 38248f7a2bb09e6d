package dev.imago.interop.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** The calls of KubeVirt CDI's qemu.go, and how it reads the answers. */
class CdiTest {
  private static final Pattern PROGRESS = Pattern.compile("\\((\\d?\\d\\.\\d\\d)\\/100%\\)");

  @BeforeAll
  static void build() throws Exception {
    Lab.build();
  }

  @Test
  void importsADiskAndShowsHowFarItIs() throws Exception {
    List<Answer> ours =
        Wrapper.both(
            "info --output=json @base.q",
            "convert -t writeback -p -O raw @base.q @disk.img",
            "convert -t none -p -O raw @top.q @disk2.img",
            "resize -f raw @disk.img 8388608",
            "resize -f raw --preallocation=falloc @disk.img 9437184",
            "info --output=json @disk.img");

    Matcher first = PROGRESS.matcher(ours.get(1).out());
    assertThat(first.find()).isTrue();
    assertThat(first.group(1)).isEqualTo("0.00");
  }

  /** It goes on to the next mode when it reads these words. */
  @Test
  void triesOnePreallocationAfterTheOther() throws Exception {
    List<Answer> ours =
        Wrapper.both(
            "convert -t writeback -p -O raw @base.q @disk.img -o preallocation=falloc",
            "convert -t writeback -p -O raw @base.q @disk.img -o preallocation=full",
            "convert -t writeback -p -O raw @base.q @disk.img -S 0",
            "resize --preallocation=metadata -f raw @disk.img 9437184");

    assertThat(ours.getLast().err()).contains("nsupported preallocation mode");
  }

  @Test
  void joinsADeltaWithItsDisk() throws Exception {
    Wrapper.both(
        "create -f raw @disk.img 4194304",
        "convert -O qcow2 @base.q @delta",
        "rebase -p -u -F raw -b @disk.img @delta",
        "info --output=json @delta");
    Wrapper.both("commit -p @top.q", "rebase -p -u -F raw -b r.raw @top.q");
  }
}
