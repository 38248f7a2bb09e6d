package dev.imago.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.w3c.dom.Document;

/** What a whole run leaves in the documentation. */
class PageTest {
  @TempDir Path folder;

  @Test
  void theReportTakesThePlaceOfTheOneBefore() throws Exception {
    Path page = folder.resolve("performance.md");
    Files.writeString(page, "before\n" + Page.BEGIN + "old\n" + Page.END + "behind\n");

    Page.write(page, "first\n", "<svg/>");
    Page.write(page, "new\n", "<svg></svg>");

    assertThat(page)
        .content()
        .startsWith("before\n" + Page.BEGIN + "\nnew\n")
        .endsWith("(performance.svg)\n\n" + Page.END + "behind\n")
        .doesNotContain("old", "first");
    assertThat(folder.resolve("performance.svg")).hasContent("<svg></svg>");
  }

  @Test
  void aPageWithoutThePlaceIsLeftAlone() {
    assertThatThrownBy(() -> Page.replaced("text\n" + Page.END + Page.BEGIN, "new"))
        .isInstanceOf(IOException.class)
        .hasMessageContaining("lacks the comments");
  }

  @Test
  void theDocumentationHasThePlace() throws Exception {
    String page = Files.readString(Path.of("../docs/performance.md"));

    assertThat(Page.replaced(page, "new")).contains(Page.BEGIN + "\nnew\n" + Page.END);
  }

  @Test
  void theChartHasABarForEachRow() throws Exception {
    List<Chart.Bar> bars =
        List.of(
            new Chart.Bar("`a` & <b>, 'c'", 0.5, Goal.NONE),
            new Chart.Bar("raw → qcow2", 4, Goal.wall(2)));

    Document svg =
        DocumentBuilderFactory.newInstance()
            .newDocumentBuilder()
            .parse(new ByteArrayInputStream(Chart.svg(bars).getBytes(StandardCharsets.UTF_8)));

    var drawn = svg.getElementsByTagName("rect");
    assertThat(drawn.getLength()).isEqualTo(2);
    // The most is 360 wide.
    assertThat(drawn.item(0).getAttributes().getNamedItem("width").getNodeValue())
        .isEqualTo("45.0");
    assertThat(drawn.item(1).getAttributes().getNamedItem("width").getNodeValue())
        .isEqualTo("360.0");
    assertThat(svg.getDocumentElement().getTextContent()).contains("a & <b>, 'c'", "raw → qcow2");
    // One for the goal, one at 1.0.
    assertThat(svg.getElementsByTagName("line").getLength()).isEqualTo(2);
  }
}
